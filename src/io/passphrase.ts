/** Passphrases from the environment, a file, or a person at a terminal; never from the command line, where `ps` shows them. */
import { ReadStream } from "node:tty";
import { SlipwayError } from "../model/errors.ts";
import { readFileBounded } from "./bounded-read.ts";

export type PassphraseSource = {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** `--passphrase-file`: its first line counts. */
  readonly file?: string | undefined;
  /** Where to ask; without a terminal nobody is asked. */
  readonly terminal?: { readonly input: NodeJS.ReadStream; readonly output: NodeJS.WriteStream };
};

const variable = "SLIPWAY_KEY_PASSPHRASE";
const sizeLimit = 4096;

/** The passphrase, or undefined where no source has one. Throws `key_locked` for an empty one; asks at most once. */
export async function readPassphrase(source: PassphraseSource, question: string): Promise<string | undefined> {
  if (source.file !== undefined) {
    const [line = ""] = (await readFileBounded(source.file, sizeLimit)).toString("utf8").split(/\r?\n/);
    if (line === "") throw new SlipwayError("key_locked", `the first line of ${source.file} is empty; it should be the passphrase`);
    return line;
  }
  const fromEnvironment = source.env[variable];
  if (fromEnvironment !== undefined && fromEnvironment !== "") return fromEnvironment;
  const { terminal } = source;
  if (terminal === undefined || !terminal.input.isTTY || !terminal.output.isTTY) return undefined;
  const typed = await askHidden(question, terminal);
  if (typed === "") throw new SlipwayError("key_locked", "an empty passphrase protects nothing");
  return typed;
}

/** For a new key: a person types it twice. Throws `key_locked` where the two differ. */
export async function readNewPassphrase(source: PassphraseSource, question: string): Promise<string | undefined> {
  const passphrase = await readPassphrase(source, question);
  const isTyped = source.file === undefined && (source.env[variable] ?? "") === "";
  if (passphrase === undefined || !isTyped) return passphrase;
  const again = await readPassphrase(source, "The same again: ");
  if (again !== passphrase) throw new SlipwayError("key_locked", "the two passphrases differ");
  return passphrase;
}

/** Reads one line in raw mode: no echo, backspace works, Ctrl-C gives up. */
function askHidden(question: string, terminal: { readonly input: NodeJS.ReadStream; readonly output: NodeJS.WriteStream }): Promise<string> {
  const { input, output } = terminal;
  output.write(question);
  return new Promise((resolve, reject) => {
    let typed = "";
    const wasRaw = input.isRaw;
    const finish = (action: () => void): void => {
      input.off("data", onData);
      if (input instanceof ReadStream) input.setRawMode(wasRaw);
      input.pause();
      output.write("\n");
      action();
    };
    const onData = (piece: Buffer | string): void => {
      for (const character of String(piece)) {
        if (character === "\r" || character === "\n") return finish(() => resolve(typed));
        if (character === "\u0003" || character === "\u0004") return finish(() => reject(new SlipwayError("key_locked", "no passphrase was given")));
        if (character === "\u007f" || character === "\b") typed = Array.from(typed).slice(0, -1).join("");
        else if (character >= " ") typed += character;
      }
    };
    if (input instanceof ReadStream) input.setRawMode(true);
    input.setEncoding("utf8");
    input.on("data", onData);
    input.resume();
  });
}
