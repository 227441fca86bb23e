/** Maintainer scripts as text: valid in dash and busybox for every combination, and hand-written bodies that behave as if they ran alone. */
import assert from "node:assert/strict";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { runCommand } from "../../src/io/command.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import { type HandWrittenScript, maintainerScripts, type ScriptRequest } from "../../src/packaging/maintainer-scripts.ts";
import type { ServicePolicy } from "../../src/packaging/service-steps.ts";
import { needRoot } from "../formats/private-root.ts";
import { needClient } from "../support/clients.ts";
import { debFile, rpmFile, sampleSpec, temporaryFolder } from "../formats/sample.ts";
import { serviceRoot } from "./service-fixture.ts";

const formats = ["deb", "rpm", "apk"] as const;
const plain: ServicePolicy = { name: "acme", enable: false, start: false, restart: "on-upgrade", purge: [] };
const policies: readonly (readonly ServicePolicy[])[] = [
  [],
  [plain],
  [{ ...plain, restart: "never" }],
  [
    { ...plain, enable: true, start: true, purge: ["/var/lib/acme", "/var/log/acme"] },
    { ...plain, name: "acme-web.v2" },
  ],
];
const account = { name: "acme", home: "/var/lib/acme", groups: ["docker", "video"], shell: "nologin", comment: "It's Acme & friends" };
const accountLists = [
  [],
  [{ ...account, groups: [], comment: "" }],
  [
    { ...account, comment: "Acme & friends" },
    { ...account, name: "acme-web", shell: "/bin/sh" },
  ],
];
const ownedEntries: ScriptRequest["entries"] = [{ kind: "directory", path: "/var/lib/acme data", mode: 0o2750, owner: "acme", group: "docker" }];

const script = (body: string): HandWrittenScript => ({ body, source: "packaging/script.sh", place: "slipway.yaml:1:1" });

function request(changes: Partial<ScriptRequest>): ScriptRequest {
  return { format: "deb", packageName: "acme", services: [plain], accounts: [], handWritten: {}, entries: ownedEntries, ...changes };
}

test("J4 every generated script is accepted by `sh -n` of dash and busybox, begins with set -e and speaks to systemd only where it runs", async (t) => {
  if (!needClient(t, "dash", "busybox")) return;
  const body = "#!/bin/sh -eu\ncase $1 in\n  configure) cat <<EOF\n  a )\nEOF\n  ;;\nesac\n# end";
  let count = 0;
  for (const format of formats) {
    for (const services of policies) {
      for (const accounts of accountLists) {
        for (const handWritten of [{}, Object.fromEntries(["preinstall", "postinstall", "preremove", "postremove"].map((name) => [name, script(body)]))]) {
          for (const [name, text] of Object.entries(maintainerScripts(request({ format, services, accounts, handWritten })))) {
            for (const shell of [["dash"], ["busybox", "sh"]]) {
              const { exitCode, stderr } = await runCommand([...shell, "-n"], { timeoutMs: 10_000, input: text });
              assert.equal(exitCode, 0, `${shell.join(" ")} refuses ${format} ${name}: ${stderr}\n${text}`);
            }
            if (text !== body) assert.match(text, /^#!\/bin\/sh\n#[^\n]*\nset -e\n/);
            assert.doesNotMatch(text, /\[\[|\bfunction \w|\$\{\w+,,|\blocal\b/, "POSIX only");
            for (const line of text.split("\n").filter((one) => /systemctl [a-z-]+ /.test(one) && !one.includes("command -v")))
              assert.match(line, /^ {2,}/, `${line} is behind a condition`);
            if (format === "apk") assert.doesNotMatch(text, /systemctl|useradd|groupadd|getent/);
            count += 1;
          }
        }
      }
    }
  }
  assert.ok(count > 100, String(count));
});

test("a hand-written body keeps its arguments, its own flags and its exit; neither exit 0 nor a variable of it reaches our steps", async (t) => {
  if (!needRoot(t, "chroot")) return;
  const root = await serviceRoot(t, "systemd");
  const run = async (body: string): Promise<{ readonly exitCode: number | null; readonly log: readonly string[] }> => {
    const text = maintainerScripts(request({ handWritten: { postinstall: script(body) } })).postinstall ?? "";
    await root.write("postinst", text);
    const { exitCode } = await runCommand(["chroot", root.path, "/bin/sh", "/postinst", "configure", "1.0.0"], { timeoutMs: 10_000 });
    return { exitCode, log: await root.takeLog() };
  };
  const reload = "systemctl daemon-reload";
  assert.deepEqual(await run('#!/bin/sh\necho "own $*" >> /log\nexit 0\n'), { exitCode: 0, log: ["own configure 1.0.0", reload] });
  assert.deepEqual(await run("#!/bin/sh\nfalse\necho on >> /log\n"), { exitCode: 0, log: ["on", reload] }, "no set -e was asked for");
  assert.deepEqual(await run("#!/bin/sh -e\nfalse\necho on >> /log\n"), { exitCode: 1, log: [] }, "the flags of the first line count");
  assert.deepEqual(await run("#!/bin/sh\nset -e\ncd /nowhere\n"), { exitCode: 2, log: [] });
  assert.deepEqual(await run("#!/bin/sh\nexit 7\n"), { exitCode: 7, log: [] }, "its failure is the script's");
  assert.deepEqual(await run("#!/bin/sh\nattempt() { :; }\nsystemd_runs() { false; }\nPATH=/nowhere\nshift 2\n"), { exitCode: 0, log: [reload] });
  assert.deepEqual(await run("#!/usr/bin/env sh\ntrap 'echo bye >> /log' EXIT\n"), { exitCode: 0, log: ["bye", reload] });
});

test("a script that nothing is added to is passed on as it is, in any language; one that would be combined must be of /bin/sh", () => {
  const python = script("#!/usr/bin/python3\nprint(1)\n");
  assert.deepEqual(maintainerScripts(request({ services: [], handWritten: { postinstall: python } })), { postinstall: python.body });
  assert.throws(
    () => maintainerScripts(request({ handWritten: { postinstall: python } })),
    (error) => error instanceof SlipwayError && error.code === "source_unusable" && error.place === python.place,
  );
});

test("a writer refuses a script that its format never runs", async (t) => {
  const folder = await temporaryFolder(t);
  const spec = sampleSpec({ entries: [], scripts: { posttransaction: "#!/bin/sh\n" } });
  await assert.rejects(debFile(folder, spec), { code: "recipe_invalid", message: "deb never runs a posttransaction script" });
  await assert.rejects(rpmFile(folder, { ...spec, scripts: { preupgrade: "#!/bin/sh\n" } }), { message: "rpm never runs a preupgrade script" });
});

test("J4 apk gets its upgrade scripts, with the installation's bodies in them, and rpm its posttransaction", () => {
  const handWritten = { preinstall: script("#!/bin/sh\n"), postinstall: script("#!/bin/sh\n"), preremove: script("#!/bin/sh\n") };
  const names = (format: ScriptRequest["format"]): readonly string[] => Object.keys(maintainerScripts(request({ format, handWritten })));
  assert.deepEqual(names("apk"), ["preinstall", "preupgrade", "postinstall", "postupgrade", "preremove"]);
  assert.deepEqual(names("rpm"), ["preinstall", "postinstall", "preremove", "postremove", "posttransaction"]);
  assert.deepEqual(names("deb"), ["preinstall", "postinstall", "preremove", "postremove"]);
});

test("J5 C11 apk's scripts run in busybox with the measured arguments: accounts, OpenRC restart only if started, removal; nothing without OpenRC", async (t) => {
  if (!needRoot(t, "chroot")) return;
  const body = (name: string): HandWrittenScript => script(`#!/bin/sh\necho "${name} $*" >> /log\n`);
  const scripts = maintainerScripts(
    request({
      format: "apk",
      services: [{ ...plain, enable: true }],
      accounts: [{ ...account, groups: ["docker"], comment: "Acme service" }],
      handWritten: { preinstall: body("own pre"), postinstall: body("own post"), preremove: body("own preremove"), postremove: body("own postremove") },
    }),
  );
  for (const manager of ["openrc", "none"] as const) {
    const root = await serviceRoot(t, manager);
    const run = async (name: keyof typeof scripts, ...args: readonly string[]): Promise<readonly string[]> => {
      await root.write("script", scripts[name] ?? "exit 99");
      await chmod(join(root.path, "script"), 0o755);
      const { exitCode, stderr } = await runCommand(["chroot", root.path, "/script", ...args], { timeoutMs: 10_000 });
      assert.equal(exitCode, 0, `${name}: ${stderr}`);
      return root.takeLog();
    };
    const openrc = (...lines: readonly string[]): readonly string[] => (manager === "openrc" ? lines : []);
    assert.deepEqual(await run("preinstall", "1.0.0-r0"), [
      "addgroup -S docker",
      "addgroup -S acme",
      "adduser -S -D -H -h /var/lib/acme -s /sbin/nologin -G acme -g Acme service acme",
      "addgroup acme docker",
      "own pre 1.0.0-r0",
    ]);
    assert.match(await root.read("etc/passwd"), /^acme:x:101:102:Acme service:\/var\/lib\/acme:\/sbin\/nologin$/m);
    assert.match(await root.read("etc/group"), /^docker:x:101:acme$/m);
    assert.deepEqual(await run("postinstall", "1.0.0-r0"), ["own post 1.0.0-r0", ...openrc("rc-update add acme default")]);
    assert.deepEqual(await run("preupgrade", "1.1.0-r0", "1.0.0-r0"), ["own pre 1.1.0-r0 1.0.0-r0"], "the accounts are there");
    assert.deepEqual(await run("postupgrade", "1.1.0-r0", "1.0.0-r0"), ["own post 1.1.0-r0 1.0.0-r0", ...openrc("rc-service --ifstarted acme restart")]);
    assert.equal(await root.exists("state/acme.active"), false, "stopped stays stopped");
    await mkdir(join(root.path, "state"), { recursive: true });
    await writeFile(join(root.path, "state/acme.active"), "");
    assert.deepEqual(await run("preremove", "1.1.0-r0"), ["own preremove 1.1.0-r0", ...openrc("rc-service --ifstarted acme stop", "rc-update --all del acme")]);
    assert.deepEqual(await run("postremove", "1.1.0-r0"), ["own postremove 1.1.0-r0"]);
    assert.match(await readFile(join(root.path, "etc/passwd"), "utf8"), /^acme:/m, "accounts stay");
  }
});
