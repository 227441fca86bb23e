/** One HTTP request as exact bytes, for what no well-behaved client sends. */
import { connect } from "node:net";

export type RawAnswer = { readonly status: number; readonly head: string; readonly body: string };

/** Sends `lines` as they are and reads until the server closes, or for two seconds. Status 0: closed without a word. */
export function rawRequest(url: string, text: string): Promise<RawAnswer> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.write(Buffer.from(text, "latin1")));
    let answer = "";
    const end = (): void => {
      clearTimeout(timer);
      socket.destroy();
      const [head = "", ...rest] = answer.split("\r\n\r\n");
      resolve({ status: Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0), head, body: rest.join("\r\n\r\n") });
    };
    const timer = setTimeout(end, 2000);
    socket.on("data", (piece: Buffer) => (answer += piece.toString("latin1")));
    socket.on("end", end);
    socket.on("error", (error: NodeJS.ErrnoException) => (answer === "" && error.code !== "ECONNRESET" ? reject(error) : end()));
  });
}

/** A GET of exactly this target, on a connection that closes afterwards. */
export function rawGet(url: string, target: string, headers: readonly string[] = []): Promise<RawAnswer> {
  return rawRequest(url, [`GET ${target} HTTP/1.1`, `Host: ${new URL(url).host}`, "Connection: close", ...headers, "", ""].join("\r\n"));
}
