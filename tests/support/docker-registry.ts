/** A real registry (Debian's docker-registry) on a free loopback port: open, behind Basic, or behind a token service of the test's own. */
import { type ChildProcess, spawn } from "node:child_process";
import { createSign, randomUUID, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { requireCommand } from "../../src/io/command.ts";

export const registryUser = "cust1";
export const registrySecret = "s3cret-of-cust1";
/** bcrypt of the secret, cost 5: docker-registry reads nothing else. */
const htpasswdLine = `${registryUser}:$2b$05$i6TtX9Jub4LGG78SrYs40u8G22FBuqqG1H86.QjCrcmHwwtkXKNIK\n`;

export type TestRegistry = {
  readonly origin: URL;
  /** `127.0.0.1:port` */
  readonly host: string;
  /** Scopes that the token service was asked for, in order. */
  readonly askedScopes: readonly string[];
  readonly close: () => Promise<void>;
};

export async function startRegistry(auth: "open" | "basic" | "token"): Promise<TestRegistry> {
  const folder = await mkdtemp(join(tmpdir(), "slipway-registry-"));
  const askedScopes: string[] = [];
  const tokenServer = auth === "token" ? await startTokenServer(folder, askedScopes) : undefined;
  await writeFile(join(folder, "htpasswd"), htpasswdLine);
  const authLines =
    auth === "basic"
      ? ["auth:", "  htpasswd:", "    realm: test", `    path: ${folder}/htpasswd`]
      : tokenServer === undefined
        ? []
        : [
            "auth:",
            "  token:",
            `    realm: ${tokenServer.realm}`,
            "    service: test-registry",
            "    issuer: test-issuer",
            `    rootcertbundle: ${folder}/cert.pem`,
          ];
  const config = [
    "version: 0.1",
    "log:",
    "  level: info",
    "storage:",
    "  filesystem:",
    `    rootdirectory: ${folder}/data`,
    "http:",
    "  addr: 127.0.0.1:0",
    ...authLines,
    "",
  ];
  await writeFile(join(folder, "config.yml"), config.join("\n"));
  const child = spawn("docker-registry", ["serve", join(folder, "config.yml")], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { PATH: process.env["PATH"] ?? "" },
  });
  const host = await listeningAddress(child);
  return {
    origin: new URL(`http://${host}`),
    host,
    askedScopes,
    close: async () => {
      await new Promise<void>((resolve) => {
        if (child.exitCode !== null) return resolve();
        child.once("exit", () => resolve());
        child.kill("SIGKILL");
      });
      tokenServer?.server.close();
      tokenServer?.server.closeAllConnections();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** The registry says where it listens; its log is read to the end so that the pipe never fills. */
function listeningAddress(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    child.stderr?.on("data", (piece: Buffer) => {
      text = (text + piece.toString("utf8")).slice(-20_000);
      const host = /listening on (127\.0\.0\.1:\d+)/.exec(text)?.[1];
      if (host !== undefined) resolve(host);
    });
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`docker-registry ended with ${code}: ${text}`)));
  });
}

/** A token service as distribution's docs/content/spec/auth/jwt.md describes it: RS256, the certificate in the header. */
async function startTokenServer(folder: string, askedScopes: string[]): Promise<{ readonly server: Server; readonly realm: string }> {
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  await requireCommand(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=test-issuer"], {
    timeoutMs: 60_000,
  });
  const privateKey = readFileSync(key, "utf8");
  const chain = [new X509Certificate(readFileSync(cert)).raw.toString("base64")];
  const expected = `Basic ${Buffer.from(`${registryUser}:${registrySecret}`).toString("base64")}`;
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://localhost");
    if (request.headers.authorization !== expected) {
      response.writeHead(401).end();
      return;
    }
    const scopes = url.searchParams.getAll("scope").flatMap((scope) => scope.split(" "));
    askedScopes.push(...scopes);
    const access = scopes.map((scope) => {
      const [type, name, actions = ""] = scope.split(":");
      return { type, name, actions: actions.split(",") };
    });
    const nowSeconds = Math.floor(Date.now() / 1000);
    const claims = {
      iss: "test-issuer",
      sub: registryUser,
      aud: url.searchParams.get("service"),
      exp: nowSeconds + 120,
      nbf: nowSeconds - 5,
      iat: nowSeconds,
      jti: randomUUID(),
      access,
    };
    const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    const signed = `${encode({ typ: "JWT", alg: "RS256", x5c: chain })}.${encode(claims)}`;
    const token = `${signed}.${createSign("RSA-SHA256").update(signed).sign(privateKey).toString("base64url")}`;
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ token, expires_in: 120 }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, realm: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token` };
}
