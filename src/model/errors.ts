/** The one table of error codes: what each means to a shell (exit), to HTTP (status), to a retry loop, and what to do next. */

export type ErrorRow = {
  readonly exit: number;
  readonly http: number;
  readonly retryable: boolean;
  readonly hint: string;
};

/**
 * Every failure that Slipway raises on purpose. Exit codes follow sysexits(3) where it has one (75 temporary failure,
 * 77 no permission); 20-44 are the updater's, so that a wrapper script can tell a refused release from a network fault.
 */
export const errorTable = {
  // Words on the command line, the recipe, settings.
  usage: { exit: 2, http: 400, retryable: false, hint: "run the command with --help" },
  recipe_invalid: {
    exit: 2,
    http: 400,
    retryable: false,
    hint: "correct the line named in the message; `slipway schema` prints the JSON Schema for your editor",
  },
  advisory_invalid: { exit: 2, http: 400, retryable: false, hint: "correct the line named in the message; docs/advisories.md shows a whole file" },
  recipe_missing: { exit: 2, http: 400, retryable: false, hint: "run `slipway init` to write a slipway.yaml, or name one with --recipe" },
  setting_invalid: { exit: 2, http: 400, retryable: false, hint: "`slipway serve --help` lists every setting" },
  version_invalid: { exit: 2, http: 400, retryable: false, hint: "use MAJOR.MINOR.PATCH, with -alpha|beta|preview|rc and an optional number for a preview" },
  target_invalid: { exit: 2, http: 400, retryable: false, hint: "use os/arch, for example linux/amd64" },
  name_invalid: { exit: 2, http: 400, retryable: false, hint: "use lower-case letters, digits, dot, plus and dash; start with a letter or digit" },
  // Building.
  source_missing: { exit: 3, http: 400, retryable: false, hint: "build the file first, or correct its path in the recipe" },
  source_unusable: { exit: 3, http: 400, retryable: false, hint: "use a regular file inside the recipe's folder" },
  build_failed: { exit: 3, http: 400, retryable: false, hint: "the build command's own output is above" },
  format_invalid: { exit: 3, http: 422, retryable: false, hint: "the file is not what its name says; build it again" },
  format_limit: { exit: 3, http: 422, retryable: false, hint: "split the payload: the format cannot hold more" },
  not_reproducible: { exit: 3, http: 422, retryable: false, hint: "build again from a clean checkout of the tag" },
  install_test_failed: { exit: 3, http: 422, retryable: false, hint: "the table above says what ran; correct the recipe or the script and build again" },
  // Keys and signatures.
  key_missing: { exit: 4, http: 400, retryable: false, hint: "`slipway keys list` shows what is there; `slipway keys new` makes one" },
  key_invalid: { exit: 4, http: 400, retryable: false, hint: "export the key again; it must be one whole armored OpenPGP or minisign key" },
  key_locked: { exit: 4, http: 400, retryable: false, hint: "set SLIPWAY_KEY_PASSPHRASE, or name a file with --passphrase-file" },
  key_unfit: { exit: 4, http: 400, retryable: false, hint: "make a fresh key with `slipway keys new`; RSA-4096 is read by every client" },
  key_exists: { exit: 4, http: 409, retryable: false, hint: "choose another name; a key is never overwritten" },
  policy_invalid: { exit: 2, http: 400, retryable: false, hint: "a trust policy names at least one required kind of signature, and a key for each" },
  signature_invalid: { exit: 20, http: 422, retryable: false, hint: "do not use these files; fetch them again from the vendor" },
  sums_invalid: { exit: 20, http: 422, retryable: false, hint: "SHA256SUMS must hold `<64 hex>  <name>` lines, LF, sorted, each name once" },
  // Talking to a server, as vendor or customer.
  network_unreachable: { exit: 75, http: 502, retryable: true, hint: "check the address and the network, then run the same command again" },
  server_error: { exit: 75, http: 500, retryable: true, hint: "run the same command again; if it stays, look at the server's log" },
  unauthorized: { exit: 24, http: 401, retryable: false, hint: "check the key id and the secret; a revoked pair does not come back" },
  forbidden: { exit: 24, http: 403, retryable: false, hint: "ask the vendor for a pair that may read this product" },
  not_found: { exit: 24, http: 404, retryable: false, hint: "check the name; what you may not read looks the same as what is not there" },
  gone: { exit: 24, http: 410, retryable: false, hint: "the version left retention; use the replacement named in the message" },
  conflict: { exit: 24, http: 409, retryable: false, hint: "look at the present state with `slipway release show`" },
  immutable: { exit: 24, http: 409, retryable: false, hint: "a published version never changes; publish a new patch version" },
  upload_invalid: { exit: 24, http: 422, retryable: false, hint: "the bytes do not match what was announced; run the same command again" },
  upload_offset: { exit: 75, http: 409, retryable: true, hint: "ask for the present offset and go on from there" },
  too_large: { exit: 24, http: 413, retryable: false, hint: "raise the server's limit setting or split the file" },
  range_invalid: { exit: 24, http: 416, retryable: false, hint: "ask for a range inside the file" },
  rate_limited: { exit: 75, http: 429, retryable: true, hint: "wait as Retry-After says" },
  release_incomplete: { exit: 24, http: 422, retryable: false, hint: "upload what is missing with `slipway publish`, then publish again" },
  plan_stale: { exit: 24, http: 409, retryable: false, hint: "something changed since the plan was made; look at a fresh one with --dry-run" },
  unavailable: { exit: 75, http: 503, retryable: true, hint: "the server is starting or stopping; try again in a moment" },
  audit_broken: {
    exit: 20,
    http: 409,
    retryable: false,
    hint: "somebody changed the database past Slipway: keep it as it is, compare with an export or a backup, and treat the server's keys as stolen",
  },
  data_damaged: {
    exit: 20,
    http: 500,
    retryable: false,
    hint: "`slipway server check` says what is lost and how it comes back; docs/operations.md has the whole story",
  },
  // This machine.
  disk_full: { exit: 28, http: 507, retryable: true, hint: "free some space, then run the same command again" },
  permission_denied: { exit: 77, http: 500, retryable: false, hint: "run as the owner of the folder named in the message" },
  path_unsafe: { exit: 2, http: 400, retryable: false, hint: "use a plain relative path without .. and without links" },
  lock_held: { exit: 75, http: 409, retryable: true, hint: "another slipway works here; wait for it to end" },
  system_unsupported: { exit: 69, http: 501, retryable: false, hint: "run it on Linux or macOS" },
  interrupted: { exit: 130, http: 503, retryable: true, hint: "nothing half-done is left; run the same command again" },
  command_failed: { exit: 25, http: 500, retryable: false, hint: "run the named command by hand to see what it says" },
  // The updater (facts: exit 20 refused, 40 rolled back, 41 page a human).
  installation_invalid: {
    exit: 2,
    http: 400,
    retryable: false,
    hint: "correct the line named in the message; docs/upgrade.md shows a whole installation file",
  },
  upgrade_verification_failed: { exit: 20, http: 422, retryable: false, hint: "nothing was changed; do not install this release, tell the vendor" },
  metadata_rollback: { exit: 22, http: 422, retryable: false, hint: "the source offers older data than this machine has seen; check the source" },
  metadata_expired: {
    exit: 21,
    http: 422,
    retryable: true,
    hint: "somebody may be holding updates back, or the vendor's timer stands still; try again, and ask the vendor when it lasts a day",
  },
  metadata_invalid: { exit: 22, http: 422, retryable: false, hint: "the file is not TUF metadata; check the source's address, and what stands between" },
  metadata_mix: { exit: 22, http: 422, retryable: false, hint: "the source mixes files of different states; check the source, then run again" },
  metadata_threshold: { exit: 22, http: 422, retryable: false, hint: "too few of the keys that must sign did; do not use this source, tell the vendor" },
  root_rotation_invalid: {
    exit: 22,
    http: 422,
    retryable: false,
    hint: "a new root needs the signatures of enough old and enough new root keys; do not use this source, tell the vendor",
  },
  clock_untrusted: { exit: 75, http: 500, retryable: true, hint: "set this machine's clock, then run the same command again" },
  state_dir_insecure: { exit: 23, http: 500, retryable: false, hint: "the state directory must be a real directory owned by you with mode 0700" },
  journal_corrupt: { exit: 23, http: 500, retryable: false, hint: "keep the file for support; move it away only when the running version is known good" },
  backup_failed: { exit: 25, http: 500, retryable: false, hint: "nothing was changed; make the state readable and large enough a disk, then run again" },
  hook_failed: { exit: 25, http: 500, retryable: false, hint: "run the named command by hand to see what it says" },
  health_failed: {
    exit: 40,
    http: 500,
    retryable: false,
    hint: "the previous version runs again; the service's own log says why the new one did not come up, `slipway upgrade history` keeps the report",
  },
  rollback_failed: { exit: 41, http: 500, retryable: false, hint: "a human must look: the previous version is not healthy either; nothing was deleted" },
  needs_confirmation: {
    exit: 42,
    http: 409,
    retryable: false,
    hint: "`slipway upgrade confirm` approves it and goes on; `slipway upgrade cancel` gives it up",
  },
  downgrade_refused: { exit: 43, http: 409, retryable: false, hint: "use `slipway upgrade rollback` to go back to the previous version" },
  version_blocked: {
    exit: 43,
    http: 409,
    retryable: false,
    hint: "this version failed here before; name a newer one, or read why in `slipway upgrade history`, then `slipway upgrade unblock`",
  },
  version_withdrawn: { exit: 43, http: 409, retryable: false, hint: "the vendor took this version back; `slipway upgrade check` says what is offered instead" },
  no_upgrade_path: { exit: 43, http: 409, retryable: false, hint: "name a version on the way with --version; `slipway upgrade check` says what is offered" },
  waypoint_missing: { exit: 43, http: 409, retryable: false, hint: "get the missing release from a mirror that keeps it, or from the vendor" },
  compat_violation: { exit: 43, http: 409, retryable: false, hint: "nothing was changed; `slipway upgrade plan` shows a way over other versions" },
  rollback_needs_restore: {
    exit: 43,
    http: 409,
    retryable: false,
    hint: "name everything that the product keeps under backup: in the installation file; a version that cannot read the state needs its own back",
  },
  outside_window: { exit: 43, http: 409, retryable: true, hint: "wait for the maintenance window named in the message, or say --outside-window" },
  pinned: { exit: 43, http: 409, retryable: false, hint: "`slipway upgrade unpin` lets other versions in" },
  held: {
    exit: 43,
    http: 409,
    retryable: true,
    hint: "`slipway upgrade status` says who holds upgrades; `slipway upgrade unhold` ends the operator's own hold",
  },
  cohort_not_selected: { exit: 43, http: 409, retryable: true, hint: "the rollout reaches this machine later; --version installs it now" },
  version_not_found: { exit: 43, http: 404, retryable: false, hint: "`slipway upgrade check` lists what is offered" },
  package_owned: {
    exit: 43,
    http: 409,
    retryable: false,
    hint: "use strategy: package or auto; with --unlink-package it is replaced all the same, and the package manager will not know",
  },
  nothing_to_resume: { exit: 3, http: 409, retryable: false, hint: "`slipway upgrade status` shows where things stand" },
  internal: { exit: 1, http: 500, retryable: false, hint: "this is a bug; please report it with the output of --version and the text above" },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof errorTable;

export type ErrorOptions = {
  /** Machine-readable precise cause under an umbrella code, for example `hash_mismatch`. */
  readonly detail?: string;
  /** `file:line:column`, a path, or a URL without credentials. */
  readonly place?: string;
  /** Replaces the table's hint where the situation allows a better one. */
  readonly hint?: string;
  readonly cause?: unknown;
};

/** A failure on purpose. `message` states what happened with the values that matter; it never carries a secret. */
export class SlipwayError extends Error {
  override readonly name = "SlipwayError";
  readonly code: ErrorCode;
  readonly detail: string | undefined;
  readonly place: string | undefined;
  readonly hint: string;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.detail = options.detail;
    this.place = options.place;
    this.hint = options.hint ?? errorTable[code].hint;
  }

  get exitCode(): number {
    return errorTable[this.code].exit;
  }

  get httpStatus(): number {
    return errorTable[this.code].http;
  }

  get isRetryable(): boolean {
    return errorTable[this.code].retryable;
  }

  /** The shape every interface prints: CLI `--json`, HTTP bodies, the journal. */
  toJSON(): { code: ErrorCode; message: string; detail?: string; place?: string; hint: string; retryable: boolean } {
    return {
      code: this.code,
      message: this.message,
      ...(this.detail === undefined ? {} : { detail: this.detail }),
      ...(this.place === undefined ? {} : { place: this.place }),
      hint: this.hint,
      retryable: this.isRetryable,
    };
  }
}

/** Turns anything thrown into a SlipwayError; what was not thrown on purpose becomes `internal`, or the matching code for ENOSPC and EACCES. */
export function asSlipwayError(thrown: unknown): SlipwayError {
  if (thrown instanceof SlipwayError) return thrown;
  if (thrown instanceof Error) {
    const systemCode = (thrown as NodeJS.ErrnoException).code;
    if (systemCode === "ENOSPC" || systemCode === "EDQUOT") return new SlipwayError("disk_full", `no space left: ${thrown.message}`, { cause: thrown });
    if (isDatabaseFull(thrown)) return new SlipwayError("disk_full", `no space left for the database: ${thrown.message}`, { cause: thrown });
    if (systemCode === "EROFS") {
      return new SlipwayError("permission_denied", thrown.message, {
        hint: "the file system is read-only: mount it writable, or see in the kernel's log why it is not",
        cause: thrown,
      });
    }
    if (systemCode === "EACCES" || systemCode === "EPERM") {
      return new SlipwayError("permission_denied", thrown.message, { cause: thrown });
    }
    if (systemCode === "EADDRINUSE") {
      return new SlipwayError("conflict", `the address is taken: ${thrown.message}`, {
        hint: "another program listens there; choose another address with --listen",
        cause: thrown,
      });
    }
    if (systemCode === "ECONNREFUSED" || systemCode === "ENOTFOUND" || systemCode === "ECONNRESET" || systemCode === "ETIMEDOUT") {
      return new SlipwayError("network_unreachable", thrown.message, { cause: thrown });
    }
    // Node's fetch asserts inside its parser when a server ends the connection while the reader is slower than the network.
    if (thrown.name === "AssertionError" && /undici/.test(thrown.stack ?? "")) {
      return new SlipwayError("network_unreachable", "the other side closed the connection in the middle of an answer", { cause: thrown });
    }
    return new SlipwayError("internal", thrown.message, { cause: thrown });
  }
  return new SlipwayError("internal", String(thrown));
}

/** SQLite's result code 13 (SQLITE_FULL), PostgreSQL's 53100 (disk_full). */
function isDatabaseFull(error: Error): boolean {
  const { code, errcode } = error as Error & { readonly code?: unknown; readonly errcode?: unknown };
  return code === "53100" || (code === "ERR_SQLITE_ERROR" && errcode === 13);
}
