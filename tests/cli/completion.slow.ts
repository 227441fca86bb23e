/** Completion in real shells that not everybody has: zsh, by keys on a terminal of its own, and fish. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type TestContext, test } from "node:test";
import { requireCommand } from "../../src/io/command.ts";
import { findProgram, needClient } from "../support/clients.ts";
import { runSlipway } from "../support/vendor.ts";

const timeoutMs = 120_000;

/** A folder with the script under the name by which the shell's packages install it, and the command itself in bin/. */
async function prepare(t: TestContext, shell: "zsh" | "fish", name: string): Promise<{ readonly folder: string; readonly env: Record<string, string> }> {
  const folder = await mkdtemp(join(tmpdir(), "slipway-completion-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const { stdout: script } = await runSlipway(["completion", shell], { cwd: folder, env: {} });
  await mkdir(join(folder, "bin"));
  await symlink(resolve(import.meta.dirname, "../../bin/slipway"), join(folder, "bin/slipway"));
  await writeFile(join(folder, name), script);
  return { folder, env: { HOME: folder, TERM: "dumb", PATH: `${join(folder, "bin")}:/usr/bin:/bin` } };
}

/** Types each line and the key, then Enter: `slipway` is a function that says its words, so that the completed line shows. */
const keys = `zmodload zsh/zpty
zpty shell zsh -f -i
wait_for() { local all="" piece; for i in {1..600}; do while zpty -r -t shell piece; do all+="$piece"; done; [[ $all == *"$1"* ]] && { REPLY=$all; return 0; }; sleep 0.1; done; print -u2 "no $1 in: $all"; exit 1; }
zpty -w shell 'PS1=""; fpath=("$HOME" $fpath); autoload -Uz compinit; compinit -u -D; bindkey "^I" complete-word; slipway() { print -r -- "SAID<$*>"; }; print "RE""ADY"'
wait_for READY
for line in "$@"; do
  zpty -w -n shell "slipway $line"$'\\t'$'\\n'
  wait_for 'SAID<'
  print -r -- "\${\${REPLY##*SAID<}%%>*}"
done
zpty -d shell
`;

test("completion in zsh works from the first key on: words, flags behind values, choices, files", async (t) => {
  if (!needClient(t, "zsh")) return;
  const { folder, env } = await prepare(t, "zsh", "_slipway");
  await writeFile(join(folder, "keys.zsh"), keys);
  const lines = [
    "upgr",
    "upgrade inst",
    "upgrade install --installation /x --fil",
    "keys new --type mini",
    "keys export release --form",
    "verify artifact /etc/passw",
  ];
  const said = await requireCommand([findProgram("zsh") ?? "zsh", "-f", join(folder, "keys.zsh"), ...lines], { env, timeoutMs });
  assert.deepEqual(said.trim().split("\n"), [
    "upgrade",
    "upgrade install",
    "upgrade install --installation /x --file",
    "keys new --type minisign",
    "keys export release --format",
    "verify artifact /etc/passwd",
  ]);
});

test("completion in fish offers words with their summaries, flags behind values, choices and files", async (t) => {
  if (!needClient(t, "fish")) return;
  const { folder, env } = await prepare(t, "fish", "slipway.fish");
  const offers = async (line: string): Promise<readonly string[]> => {
    const said = await requireCommand(["fish", "--no-config", "-c", `source ${folder}/slipway.fish; complete -C '${line}'`], { env, timeoutMs });
    return said.trim().split("\n");
  };
  assert.deepEqual(await offers("slipway upg"), ["upgrade\tUpgrade an installation, and go back"]);
  assert.deepEqual(await offers("slipway upgrade che"), ["check\tIs there a newer release for this installation?"]);
  assert.match((await offers("slipway upgrade install --installation /x --fi")).join(), /^--file\t[^,]+/);
  assert.match((await offers("slipway keys new --type mini")).join(), /^minisign\t/);
  assert.ok((await offers("slipway verify artifact /etc/passw")).includes("/etc/passwd"));
});
