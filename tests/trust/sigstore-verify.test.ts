/** Sigstore's rows of the attack table: each changes one thing about a good bundle, a good root or a good policy, and must be refused by its name. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { createSigstorePolicy, type KeylessPolicy, type SigstorePolicySource } from "../../src/trust/sigstore-policy.ts";
import { signerAt, type SigstoreDetail, type SigstoreVerdict, verifySigstoreBundle } from "../../src/trust/sigstore-verify.ts";
import { actionsIssuer, type SigstoreInstance, startSigstore, subjectOf } from "../support/sigstore-instance.ts";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

const repository = "https://github.com/acme/toy";
const workflow = ".github/workflows/release.yml";
const artifact = Buffer.from("the program, as it was built\n");
const identityAt = (tag: string): string => `${repository}/${workflow}@refs/tags/${tag}`;

type BundleJson = {
  mediaType: string;
  verificationMaterial: {
    certificate: { rawBytes: string };
    tlogEntries: { inclusionPromise?: unknown; integratedTime: string; canonicalizedBody: string }[];
    timestampVerificationData?: { rfc3161Timestamps: unknown[] };
  };
  messageSignature: { messageDigest: { digest: string }; signature: string };
};

describe("Sigstore bundles", () => {
  const ends: (() => void)[] = [];
  let instance: SigstoreInstance;
  let folder: string;
  let file: string;
  let good: Buffer;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "slipway-sigstore-"));
    file = join(folder, "toy");
    await writeFile(file, artifact);
    instance = await startSigstore({ after: (run: () => void) => void ends.push(run) });
    good = await instance.bundle(file, { identity: identityAt("v1.2.3") });
  });
  after(async () => {
    for (const end of ends) end();
    await rm(folder, { recursive: true, force: true });
  });

  const source = (): Extract<SigstorePolicySource, { issuer: string }> => ({ issuer: actionsIssuer, repository, workflow, trustedRoot: instance.trustedRoot });
  const verify = async (
    bundle: Uint8Array,
    changes: { tag?: string; source?: Partial<SigstorePolicySource>; bytes?: Uint8Array } = {},
  ): Promise<SigstoreVerdict> =>
    verifySigstoreBundle({
      bundle,
      artifact: [changes.bytes ?? artifact],
      signer: signerAt(await createSigstorePolicy({ ...source(), ...changes.source }), changes.tag ?? "v1.2.3"),
    });
  const refused = async (verdict: Promise<SigstoreVerdict>, detail: SigstoreDetail): Promise<void> => {
    const found = await verdict;
    assert.equal(found.kind === "bad" ? found.detail : "accepted", detail, found.kind === "bad" ? found.message : "");
  };
  const changed = (change: (bundle: BundleJson) => void, from: Buffer = good): Buffer => {
    const bundle = JSON.parse(from.toString("utf8")) as BundleJson;
    change(bundle);
    return Buffer.from(JSON.stringify(bundle));
  };

  test("K8 a bundle of the release workflow at the tag is accepted, and its digest is that of the bytes", async () => {
    assert.equal(subjectOf(good), `URI:${identityAt("v1.2.3")}`);
    const verdict = await verify(good);
    assert.deepEqual(verdict, {
      kind: "good",
      signer: identityAt("v1.2.3"),
      digest: `sha256:${createHash("sha256").update(artifact).digest("hex")}`,
      size: artifact.length,
    });
  });

  test("a bundle with a timestamp is accepted too", async () => {
    const verdict = await verify(await instance.bundle(file, { identity: identityAt("v1.2.3"), hasTimestamp: true }));
    assert.equal(verdict.kind, "good", verdict.kind === "bad" ? verdict.message : "");
  });

  for (const [row, identity] of [
    ["12 a certificate for v1.2.30", identityAt("v1.2.30")],
    ["13 a certificate for v1x2y3, where dots would be wildcards", identityAt("v1x2y3")],
    ["13 a name that merely ends in the identity", `https://evil.example/?${identityAt("v1.2.3")}`],
    ["13 a name that merely begins with the identity", `${identityAt("v1.2.3")}-evil`],
    ["14 another workflow file of the repository", `${repository}/.github/workflows/nightly.yml@refs/tags/v1.2.3`],
    ["14 the workflow on a branch", `${repository}/${workflow}@refs/heads/main`],
    ["14 a branch that is called like the tag", `${repository}/${workflow}@refs/heads/v1.2.3`],
    ["14 another repository", `https://github.com/evil/toy/${workflow}@refs/tags/v1.2.3`],
    ["14 the same in other letters", identityAt("v1.2.3").toUpperCase()],
  ] as const) {
    test(`${row} is refused: identity_mismatch`, async () => refused(verify(await instance.bundle(file, { identity })), "identity_mismatch"));
  }

  for (const issuer of ["https://token.actions.githubusercontent.com.evil.example", "https://accounts.google.com", `${actionsIssuer}/`]) {
    test(`15 the identity from the issuer ${issuer} is refused: issuer_mismatch`, async () =>
      refused(verify(await instance.bundle(file, { identity: identityAt("v1.2.3"), issuer })), "issuer_mismatch"));
  }

  for (const [what, change] of [
    ["no issuer", { issuer: "" }],
    ["no repository", { repository: "" }],
    ["no workflow", { workflow: "" }],
    ["a pattern", { repository: "https://github.com/.*" }],
    ["a trailing slash", { repository: `${repository}/` }],
    ["a ref in the workflow", { workflow: `${workflow}@refs/heads/main` }],
    ["http", { issuer: "http://token.example" }],
    ["no log entry", { logThreshold: 0 }],
    ["a root that is none", { trustedRoot: Buffer.from("{}") }],
  ] as const) {
    test(`16 a policy with ${what} is refused before anything is read: policy_invalid`, async () => {
      await assert.rejects(createSigstorePolicy({ ...source(), ...change }), { code: "policy_invalid" });
    });
  }

  test("16 an empty tag or identity never stands for any", async () => {
    const policy = (await createSigstorePolicy(source())) as KeylessPolicy;
    assert.throws(() => signerAt(policy, ""), { code: "policy_invalid" });
    const signer = { ...signerAt(policy, "v1.2.3"), identity: "" } as const;
    await assert.rejects(verifySigstoreBundle({ bundle: good, artifact: [artifact], signer }), { code: "policy_invalid" });
  });

  for (const [what, bytes] of [
    ["nothing", () => Buffer.alloc(0)],
    ["half of it", () => good.subarray(0, good.length >> 1)],
    ["more than 64 KiB", () => Buffer.concat([good, Buffer.alloc(64 * 1024, " ")])],
    ["a list", () => Buffer.from("[]")],
    ["cosign's old form", () => Buffer.from(JSON.stringify({ base64Signature: "MEUCIQ", cert: "LS0t", rekorBundle: {} }))],
    ["another media type", () => changed((bundle) => void (bundle.mediaType = "application/vnd.dev.sigstore.bundle+json;version=99"))],
    ["no certificate", () => changed((bundle) => void (bundle.verificationMaterial.certificate.rawBytes = ""))],
    ["a certificate of noise", () => changed((bundle) => void (bundle.verificationMaterial.certificate.rawBytes = "AAAA"))],
  ] as const) {
    test(`17 a bundle that is ${what} is refused`, async () => {
      const verdict = await verify(bytes());
      assert.equal(verdict.kind, "bad");
      assert.match(verdict.kind === "bad" ? verdict.detail : "", /^bundle_(malformed|untrusted)$/);
    });
  }

  test("18 without its log entry it is refused: tlog_missing", async () =>
    refused(verify(changed((bundle) => void (bundle.verificationMaterial.tlogEntries = []))), "tlog_missing"));

  test("18 with the log entry of another artifact it is refused", async () => {
    await writeFile(join(folder, "other"), "something else");
    const other = JSON.parse((await instance.bundle(join(folder, "other"), { identity: identityAt("v1.2.3") })).toString("utf8")) as BundleJson;
    await refused(verify(changed((bundle) => void (bundle.verificationMaterial.tlogEntries = other.verificationMaterial.tlogEntries))), "bundle_untrusted");
  });

  test("18 without the log's promise, or with another time in it, it is refused", async () => {
    const stripped = await verify(changed((bundle) => void delete bundle.verificationMaterial.tlogEntries[0]?.inclusionPromise));
    assert.equal(stripped.kind, "bad");
    const moved = changed((bundle) => {
      const [entry] = bundle.verificationMaterial.tlogEntries;
      if (entry !== undefined) entry.integratedTime = String(Number(entry.integratedTime) - 60);
    });
    await refused(verify(moved), "bundle_untrusted");
  });

  test("19 the same log entry twice does not make two", async () => {
    const twice = changed((bundle) => void bundle.verificationMaterial.tlogEntries.push(...bundle.verificationMaterial.tlogEntries));
    await refused(verify(twice, { source: { logThreshold: 2 } }), "bundle_untrusted");
    await refused(verify(twice), "bundle_untrusted");
    const nine = changed(({ verificationMaterial: { tlogEntries } }) => void tlogEntries.push(...Array.from({ length: 8 }, () => tlogEntries).flat()));
    await refused(verify(nine), "bundle_malformed");
    await refused(verify(good, { source: { logThreshold: 2 } }), "bundle_untrusted");
  });

  test("a changed byte, a lied digest and a foreign signature are refused", async () => {
    await refused(verify(good, { bytes: Buffer.from("the program, as it was bui1t\n") }), "bundle_untrusted");
    await refused(verify(good, { bytes: Buffer.alloc(0) }), "bundle_untrusted");
    const lie = createHash("sha256").update("evil").digest("base64");
    await refused(
      verify(
        changed((bundle) => void (bundle.messageSignature.messageDigest.digest = lie)),
        { bytes: Buffer.from("evil") },
      ),
      "bundle_untrusted",
    );
    await refused(verify(changed((bundle) => void (bundle.messageSignature.messageDigest.digest = lie))), "bundle_untrusted");
    await refused(verify(changed((bundle) => void (bundle.messageSignature.signature = "MEUCIQ=="))), "bundle_untrusted");
  });

  test("21 a certificate of an authority outside the root, or one whose time was over, is refused", async () => {
    const foreign = await startSigstore({ after: (run: () => void) => void ends.push(run) });
    await refused(verify(await foreign.bundle(file, { identity: identityAt("v1.2.3") })), "bundle_untrusted");
    const root = JSON.parse(instance.trustedRoot.toString("utf8")) as { certificateAuthorities: { validFor: { start: string; end?: string } }[] };
    for (const authority of root.certificateAuthorities) authority.validFor.end = new Date(Date.now() - 600_000).toISOString();
    await refused(verify(good, { source: { trustedRoot: Buffer.from(JSON.stringify(root)) } }), "bundle_untrusted");
  });

  test("a root whose log does not say from when on it counts is no policy", async () => {
    const root = JSON.parse(instance.trustedRoot.toString("utf8")) as { tlogs: { publicKey: { validFor?: unknown } }[] };
    for (const log of root.tlogs) delete log.publicKey.validFor;
    await assert.rejects(createSigstorePolicy({ ...source(), trustedRoot: Buffer.from(JSON.stringify(root)) }), { code: "policy_invalid" });
  });

  test("nor is a root whose authority does not say it, one of another media type, and one beyond the limit", async () => {
    type Root = { mediaType: string; certificateAuthorities: { validFor?: unknown }[] };
    const rootWith = (change: (root: Root) => void): Buffer => {
      const root = JSON.parse(instance.trustedRoot.toString("utf8")) as Root;
      change(root);
      return Buffer.from(JSON.stringify(root));
    };
    for (const [trustedRoot, words] of [
      [rootWith((root) => root.certificateAuthorities.forEach((authority) => delete authority.validFor)), /no start of validity/],
      [rootWith((root) => void (root.mediaType = "application/vnd.dev.sigstore.trustedroot+json;version=9.1")), /media type/],
      [rootWith((root) => void (root.mediaType = "")), /media type/],
      [Buffer.concat([instance.trustedRoot, Buffer.alloc(1024 * 1024, " ")]), /the limit is/],
    ] as const)
      await assert.rejects(
        createSigstorePolicy({ ...source(), trustedRoot }),
        (error: Error & { code?: string }) => error.code === "policy_invalid" && words.test(error.message),
      );
  });

  test("a bundle with any one character changed is never accepted for other bytes and never throws", async () => {
    const signer = signerAt(await createSigstorePolicy(source()), "v1.2.3");
    for (let at = 1; at < good.length; at += 41) {
      const bundle = Buffer.from(good);
      bundle[at] = (bundle[at] ?? 0) ^ 1;
      assert.equal(
        (await verifySigstoreBundle({ bundle, artifact: [Buffer.from("evil")], signer, isAttestationAllowed: true })).kind,
        "bad",
        `character ${at}`,
      );
    }
  });

  test("a large file is verified as a stream, in memory that does not grow with it", async () => {
    const large = join(folder, "large");
    await writeFile(large, Buffer.alloc(96 * 1024 * 1024, 7));
    const bundle = await instance.bundle(large, { identity: identityAt("v1.2.3") });
    const held = (): number => {
      collectGarbage(); // what is left is held by somebody, however late the collector would have come by itself
      return process.memoryUsage().arrayBuffers;
    };
    const start = held();
    let [pieces, peak] = [0, 0];
    async function* watched(): AsyncGenerator<Uint8Array> {
      for await (const piece of createReadStream(large, { highWaterMark: 1024 * 1024 }) as AsyncIterable<Buffer>) {
        pieces += 1;
        if (pieces % 8 === 0) peak = Math.max(peak, held() - start);
        yield piece;
      }
    }
    const signer = signerAt(await createSigstorePolicy(source()), "v1.2.3");
    assert.equal((await verifySigstoreBundle({ bundle, artifact: watched(), signer })).kind, "good");
    assert.ok(pieces > 90 && peak < 16 * 1024 * 1024, `${peak} bytes of buffers`);
    assert.equal((await readFile(large)).length, 96 * 1024 * 1024);
  });
});
