/** Row 54 of the attack table: what an operator gave to a program in place stays with it, forward and back: capabilities, ACL, attributes, owner, label. */
import assert from "node:assert/strict";
import { chmod, chown, copyFile, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { requireCommand, runCommand } from "../../src/io/command.ts";
import { copyAttributes } from "../../src/updater/file-attributes.ts";
import { needClient, needRoot } from "../support/clients.ts";
import { failure, makeSite, noSignal, type Site, startVendor, toyFiles, type Vendor } from "./support.ts";

const say = (argv: readonly string[]): Promise<string> => requireCommand(argv, { timeoutMs: 10_000 });
const lessen = (text: string): string => text.replace(/^# file:.*$/gm, "").trim();

/** Everything about a file but its name, content and times. */
async function carried(path: string): Promise<string> {
  const { uid, gid, mode } = await stat(path);
  const all = [
    await say(["getcap", path]),
    await say(["getfacl", "--absolute-names", path]),
    await say(["getfattr", "--absolute-names", "-d", "-m", "^(user|security.capability)", "-e", "hex", path]),
  ];
  return [`${uid}:${gid} ${(mode & 0o7777).toString(8)}`, ...all.map(lessen)].join("\n").replaceAll(path, "");
}

/** The operator's machine: a real program beside the toy's, with all that a file can carry. */
async function adorned(t: TestContext, release: "good" | "crashes"): Promise<{ readonly site: Site; readonly vendor: Vendor; readonly program: string }> {
  const vendor = await startVendor(t);
  const program = await readFile("/bin/cat");
  const files = (version: string, kind: "good" | "crashes") => ({
    ...toyFiles(version, kind),
    "bin/toyd": { content: Buffer.concat([program, Buffer.from(version)]), mode: 0o755 },
  });
  await vendor.release("1.4.2", { files: files("1.4.2", "good") });
  const site = await makeSite(vendor, { strategy: "inplace" }, t);
  await (await site.updater()).install({ signal: noSignal });
  const toyd = join(site.root, "bin/toyd");
  await chmod(site.folder, 0o755); // for whoever runs it
  await chown(toyd, 1, 2);
  await chmod(toyd, 0o750);
  await say(["setfacl", "-m", "u:65534:r-x,g:33:r--", toyd]);
  await say(["setfattr", "-n", "user.note", "-v", "kept by the operator", toyd]);
  await say(["setcap", "cap_net_bind_service,cap_net_raw+ep", toyd]);
  await vendor.release("1.5.0", { files: files("1.5.0", release) });
  return { site, vendor, program: toyd };
}

const tools = ["setcap", "getcap", "setfacl", "getfacl", "setfattr", "getfattr"] as const;

/** The permitted capabilities of the program in the hands of somebody without any (proc_pid_status(5)): cap_net_bind_service is bit 10, cap_net_raw bit 13. */
async function permitted(program: string): Promise<string> {
  const status = await say(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, "/proc/self/status"]);
  return /^CapPrm:\t0*(\w+)$/m.exec(status)?.[1] ?? "";
}

test("54 inplace: a program keeps capabilities, ACL, attributes, owner and mode over an upgrade and over the way back", async (t) => {
  if (!needClient(t, ...tools, "setpriv") || !needRoot(t, "capabilities")) return;
  const { site, program } = await adorned(t, "good");
  const before = await carried(program);
  for (const part of ["1:2 750", "cap_net_bind_service,cap_net_raw=ep", "user:nobody:r-x", "user.note=0x"]) assert.ok(before.includes(part), before);
  await (await site.updater()).install({ signal: noSignal });
  assert.ok((await readFile(program, "latin1")).endsWith("1.5.0"));
  assert.equal(await carried(program), before);
  assert.equal(await permitted(program), "2400");
  // Between the upgrade and the way back the operator changes his mind: what the live file carries counts.
  await say(["setcap", "cap_net_raw+ep", program]);
  const changed = await carried(program);
  await (await site.updater()).rollback({ signal: noSignal });
  assert.ok((await readFile(program, "latin1")).endsWith("1.4.2"));
  assert.equal(await carried(program), changed);
});

test("54 inplace: after a release that crashes the old program has its capabilities again, also where the new one took the file away", async (t) => {
  if (!needClient(t, ...tools) || !needRoot(t, "capabilities")) return;
  const { site, program, vendor } = await adorned(t, "crashes");
  const before = await carried(program);
  await failure((await site.updater()).install({ signal: noSignal }), "health_failed");
  assert.equal(await carried(program), before);
  await vendor.release("1.6.0"); // without toyd
  await (await site.updater()).install({ signal: noSignal });
  await assert.rejects(stat(program), { code: "ENOENT" });
  await (await site.updater()).rollback({ signal: noSignal });
  assert.equal(await carried(program), before);
});

test("54 inplace: where this machine's cp cannot keep attributes, or the file system holds none, nothing is replaced and nothing stopped", async (t) => {
  const vendor = await startVendor(t);
  await vendor.release("1.4.2");
  const site = await makeSite(vendor, { strategy: "inplace" }, t);
  await (await site.updater()).install({ signal: noSignal });
  const cases = [
    ["1.5.0", "cp: unrecognized option: attributes-only", "command_failed"],
    ["1.6.0", "cp: setting attributes for 'x': Operation not supported", "permission_denied"],
  ] as const;
  for (const [version, stderr, code] of cases) {
    await vendor.release(version);
    const ran: string[] = [];
    const updater = await site.updater({
      runCommand: (argv, options) => {
        ran.push(argv[0] ?? "");
        return argv[0] === "cp" ? Promise.resolve({ exitCode: 1, signal: null, stdout: "", stderr, isTimedOut: false }) : runCommand(argv, options);
      },
    });
    const refused = await failure(updater.install({ signal: noSignal }), code, "attributes");
    assert.match(refused.message, /toy.*cp: /);
    assert.deepEqual([await site.live(), await site.running()], ["1.4.2", "1.4.2"]);
    assert.ok(!ran.includes("rm"), "the service was never stopped");
  }
});

test("54 a label is asked for exactly where SELinux is in use; an owner that cp could not give is a refusal", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "slipway-attributes-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const [from, to, mounted] = [join(folder, "from"), join(folder, "to"), join(folder, "enforce")];
  await writeFile(from, "from", { mode: 0o755 });
  await copyFile(from, to);
  await mkdir(mounted);
  const asked: string[] = [];
  const machine = {
    runCommand: (argv: readonly string[]) => {
      asked.push(argv.find((word) => word.startsWith("--preserve="))?.slice("--preserve=".length) ?? "");
      return Promise.resolve({ exitCode: 0, signal: null, stdout: "", stderr: "", isTimedOut: false });
    },
  };
  await copyAttributes(machine, { from, to }, mounted);
  await copyAttributes(machine, { from, to }, join(folder, "absent"));
  assert.deepEqual(asked, ["mode,ownership,xattr,context", "mode,ownership,xattr"]);
  await chmod(to, 0o700);
  await failure(copyAttributes(machine, { from, to }, mounted), "permission_denied", "attributes");
});
