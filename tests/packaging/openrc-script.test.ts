/** OpenRC services made from systemd units: read by a real shell, with OpenRC's own commands as functions that tell how they are called. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { runCommand } from "../../src/io/command.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import { openrcService, splitUnitWords } from "../../src/packaging/openrc-script.ts";
import { parseUnit, type Unit, unitValue, unitValues } from "../../src/packaging/service-unit.ts";
import { needClient } from "../support/clients.ts";

function readUnit(text: string): Unit {
  const parsed = parseUnit(text);
  assert.ok("unit" in parsed, JSON.stringify(parsed));
  return parsed.unit;
}

/** What openrc-run does with a service script: conf.d first, then the script, then its functions; command_args are evaluated. */
const openrcRun = `set -eu
RC_SVCNAME=acme command_args= output_log= error_log=
tell() { echo "$*"; }
need() { tell need "$@"; }; use() { tell use "$@"; }; after() { tell after "$@"; }
checkpath() { tell checkpath "$@"; }
ebegin() { :; }; eend() { :; }; start_stop_daemon() { tell start-stop-daemon "$@"; }
alias start-stop-daemon=start_stop_daemon
`;
const shown = `
for one in name description supervisor command command_user directory umask rc_ulimit respawn_delay respawn_max command_background pidfile output_log; do
  eval "value=\\\${$one-}"
  [ -z "$value" ] || echo "$one=$value"
done
eval "set -- $command_args"
for word; do echo "argument <$word>"; done
depend
start_pre
`;

async function runScript(initScript: string, configuration = "", end = ""): Promise<readonly string[]> {
  const { exitCode, stdout, stderr } = await runCommand(["busybox", "sh"], {
    timeoutMs: 10_000,
    input: `${openrcRun}${configuration}\n${initScript}\n${shown}\n${end}`,
  });
  assert.equal(exitCode, 0, stderr);
  return stdout.trim().split("\n");
}

test("J4 the unit of the example becomes an OpenRC script: program, arguments, user, folders, order, respawning", async (t) => {
  if (!needClient(t, "busybox")) return;
  const unit = readUnit(await readFile(new URL("../../examples/jaco/build/packaging/jaco.service", import.meta.url), "utf8"));
  const { initScript, configuration } = openrcService("jaco", unit, "slipway.yaml:1:1");
  assert.match(initScript, /^#!\/sbin\/openrc-run\n/);
  assert.deepEqual(await runScript(initScript, configuration), [
    "name=jaco",
    "description=JACO container orchestrator",
    "supervisor=supervise-daemon",
    "command=/usr/bin/jacod",
    "respawn_delay=5",
    "respawn_max=0",
    "output_log=/var/log/jaco.log",
    "argument <--config>",
    "argument </etc/jaco/jacod.yaml>",
    "use net logger",
    "after docker",
    "checkpath --directory --owner root:root --mode 0755 /var/lib/jaco",
    "checkpath --file --owner root:root --mode 0640 /var/log/jaco.log /var/log/jaco.log",
  ]);
  const edited = `${configuration}\ncommand_args="--config /srv/other.yaml"\noutput_log=/var/log/x\n`;
  const lines = await runScript(initScript, edited);
  assert.ok(lines.includes("argument </srv/other.yaml>") && lines.includes("output_log=/var/log/x"), "conf.d wins");
});

test("users, limits, environment, quoted words and reloads are translated; without Restart= nothing respawns", async (t) => {
  if (!needClient(t, "busybox")) return;
  const unit = readUnit(`
# a comment
[Unit]
Description=It's 100%% \\
; a comment between
  whole
Requires=postgresql.service
After=postgresql.service network.target \\
  redis.service
[Service]
Type=notify
ExecStart=/usr/bin/old
ExecStart=
ExecStart=-/usr/bin/acmed "two words" it\\'s 'a"b' $$HOME 100%%
ExecReload=/bin/kill -HUP $MAINPID
User=acme
Group=www
UMask=0027
LimitNOFILE=65536:65536
WorkingDirectory=-/srv/acme
Environment="GREETING=good day" COUNT=3
EnvironmentFile=-/etc/default/absent
RuntimeDirectory=acme acme/sockets
RuntimeDirectoryMode=0750
NoNewPrivileges=yes
`);
  assert.equal(unitValue(unit, "Unit", "Description"), "It's 100%% whole");
  assert.deepEqual(unitValues(unit, "Service", "ExecStart").length, 1, "an empty assignment empties the list");
  const { initScript } = openrcService("acme", unit, "slipway.yaml:1:1");
  assert.deepEqual(await runScript(initScript, "", 'echo "$GREETING/$COUNT"; sh -c \'echo "$GREETING"\'\nreload'), [
    "name=acme",
    "description=It's 100% whole",
    "command=/usr/bin/acmed",
    "command_user=acme:www",
    "directory=/srv/acme",
    "umask=0027",
    "rc_ulimit=-n 65536",
    "command_background=true",
    "pidfile=/run/acme.pid",
    "output_log=/var/log/acme.log",
    "argument <two words>",
    "argument <it's>",
    'argument <a"b>',
    "argument <$HOME>",
    "argument <100%>",
    "need postgresql",
    "use logger",
    "after net redis",
    "checkpath --directory --owner acme:www --mode 0750 /run/acme",
    "checkpath --directory --owner acme:www --mode 0750 /run/acme/sockets",
    "checkpath --file --owner acme:www --mode 0640 /var/log/acme.log /var/log/acme.log",
    "good day/3",
    "good day",
    "start-stop-daemon --signal HUP --pidfile /run/acme.pid",
  ]);
});

test("a unit that OpenRC has no word for is refused with a hint, never guessed at", () => {
  const lines = [
    "Type=forking",
    "Type=oneshot",
    "ExecStartPre=/bin/true",
    "ExecStop=/bin/stop",
    "ExecReload=/usr/bin/acmectl reload",
    "DynamicUser=yes",
    "ExecStart=/usr/bin/second",
    "Environment=A=$B",
  ];
  for (const line of lines) {
    assert.throws(
      () => openrcService("acme", readUnit(`[Service]\nExecStart=/usr/bin/acmed\n${line}\n`), "slipway.yaml:7:3"),
      (error) =>
        error instanceof SlipwayError && error.code === "source_unusable" && error.place === "slipway.yaml:7:3" && error.hint.includes("service.openrc"),
      line,
    );
  }
  for (const start of ["/usr/bin/acmed $ARGS", "/usr/bin/acmed %i", "@/usr/bin/acmed acmed", "!/usr/bin/acmed", "acmed", "/usr/bin/acmed 'open"]) {
    assert.throws(() => openrcService("acme", readUnit(`[Service]\nExecStart=${start}\n`), "x"), SlipwayError, start);
  }
  assert.deepEqual(splitUnitWords(`a '' "b c"d`), ["a", "", "b cd"]);
  assert.deepEqual(parseUnit("Description=before any section\n"), { badLine: "Description=before any section", lineNumber: 1 });
});
