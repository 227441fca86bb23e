/** A private Debian as a folder: made once by mmdebstrap and shared by all test files; a test gets a cheap copy that is thrown away. */
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { requireCommand } from "../../src/io/command.ts";
import { cachedFolder, copyPrefix } from "./cached-folder.ts";
import { copyRoot } from "./root-copy.ts";

export type DebianBase = {
  readonly suite: "bookworm" | "trixie" | "sid";
  /** Besides apt and what it needs. */
  readonly packages?: readonly string[];
  /** mmdebstrap's own, in front of ours. */
  readonly options?: readonly string[];
  /** dpkg's path-exclude patterns; by default documentation and languages, which only cost time here. */
  readonly leftOut?: readonly string[];
  /** Paths inside that are removed in the end; by default the lists of packages. */
  readonly removed?: readonly string[];
};

/** A minute or two where nothing else runs; the tests of a loaded machine wait for it side by side. */
const timeoutMs = 600_000;
/** mmdebstrap mounts /proc and /sys into the folder: when it ends, be it by our limit or because we were killed, so do its mounts and what it started. */
const alone = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"];
const documentation = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];

/** The shared folder: to be copied, or mounted below an overlay, never to be written to. Takes 20 s to 2 minutes the first time. */
export async function debianBase(base: DebianBase): Promise<string> {
  const { suite, packages = [], options = [], leftOut = documentation, removed = ["var/lib/apt/lists"] } = base;
  const argv = [
    "mmdebstrap",
    "--mode=root",
    "--variant=apt",
    ...options,
    // A mirror may be a frozen snapshot; this is about Debian's own packages, the tests of apt set it again.
    '--aptopt=Acquire::Check-Valid-Until "false"',
    ...leftOut.map((pattern) => `--dpkgopt=path-exclude=${pattern}`),
    ...(packages.length === 0 ? [] : [`--include=${packages.join(",")}`]),
    suite,
  ];
  const mirror = await debianMirror();
  return cachedFolder([...argv, mirror].join("\n"), async (folder) => {
    await requireCommand([...alone, ...argv, folder, mirror], { timeoutMs });
    for (const path of removed) await rm(join(folder, path), { recursive: true, force: true });
  });
}

/** Runs `fn` with a fresh copy of a base, named after `name`; it is gone afterwards. */
export async function withCopyOf(base: string, name: string, fn: (path: string) => Promise<void>): Promise<void> {
  const path = await mkdtemp(copyPrefix(name));
  try {
    await copyRoot(base, path);
    await fn(path);
  } finally {
    await rm(path, { recursive: true, force: true });
  }
}

/** Where a test run notes the mirror for its test files: asking apt takes half a second of CPU each time. */
const noted = "SLIPWAY_TEST_DEBIAN_MIRROR";

/** The mirror that this machine's own apt uses for Debian. */
export async function debianMirror(): Promise<string> {
  const known = process.env[noted];
  if (known !== undefined) return known;
  const argv = ["apt-get", "indextargets", "--format", "$(SITE) $(ORIGIN) $(RELEASE)", "Created-By: Packages"];
  const lines = (await requireCommand(argv, { timeoutMs })).split("\n").map((line) => line.split(" "));
  const site = lines.find(([, , release]) => release === "bookworm" || release === "trixie")?.[0];
  if (site === undefined) throw new Error("this machine's apt names no mirror of Debian 12 or 13 (run apt-get update first)");
  process.env[noted] = site;
  return site;
}
