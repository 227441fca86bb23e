/** A real SMTP server (aiosmtpd of Debian) on a free port of loopback that prints every mail that it takes. */
import { type ChildProcess, spawn } from "node:child_process";
import { connect } from "node:net";
import type { TestContext } from "node:test";
import { freePort } from "./vendor.ts";

export type MailServer = {
  readonly port: number;
  /** Everything that it printed, headers included, once that matches; what a program prints arrives a moment after it was done. */
  readonly waitFor: (pattern: RegExp) => Promise<string>;
  readonly stop: () => Promise<void>;
};

function answers(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("data", () => {
      socket.destroy();
      done(true);
    });
    socket.once("error", () => done(false));
  });
}

/** Stopped with the test; `port` to start it again where it was. */
export async function startMailServer(t: TestContext, wanted?: number): Promise<MailServer> {
  const port = wanted ?? (await freePort());
  const child: ChildProcess = spawn("aiosmtpd", ["-n", "-l", `127.0.0.1:${port}`, "-c", "aiosmtpd.handlers.Debugging", "stdout"], {
    stdio: ["ignore", "pipe", "ignore"],
    env: { ...process.env, PYTHONUNBUFFERED: "1" },
  });
  let text = "";
  child.stdout?.on("data", (piece: Buffer) => (text += piece.toString()));
  const stop = (): Promise<void> =>
    new Promise((done) => {
      if (child.exitCode !== null || child.signalCode !== null) {
        done();
        return;
      }
      child.once("exit", () => done());
      child.kill("SIGKILL");
    });
  t.after(stop);
  for (let attempt = 0; attempt < 200; attempt += 1) {
    if (await answers(port)) return { port, waitFor: (pattern) => waitFor(() => text, pattern), stop };
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error("the mail server did not start");
}

async function waitFor(text: () => string, pattern: RegExp): Promise<string> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    if (pattern.test(text())) return text();
    await new Promise((done) => setTimeout(done, 25));
  }
  throw new Error(`no mail with ${pattern.source}:\n${text()}`);
}
