/**
 * The access pair in the form that an engine takes it in: `config.json` of Docker, in a private folder that is there only while the engine pulls.
 * The pair stands in no argument and no environment. What a kill leaves behind, whoever takes the updater's lock next removes.
 */
import { mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { StateDirectory } from "./state-directory.ts";

export type RegistryLogin = {
  readonly host: string;
  readonly credentials: { readonly keyId: string; readonly secret: string };
  /** The operator's own `~/.docker`: which engine `docker` talks to stands there (a context). */
  readonly dockerFolder: string;
};

export async function withRegistryLogin<T>(directory: StateDirectory, login: RegistryLogin, use: (folder: string) => Promise<T>): Promise<T> {
  const { host, credentials, dockerFolder } = login;
  const folder = directory.registryLogin;
  await forgetRegistryLogin(directory);
  try {
    await mkdir(folder, { mode: 0o700 });
    const auth = Buffer.from(`${credentials.keyId}:${credentials.secret}`).toString("base64");
    const currentContext = await contextOf(dockerFolder);
    const config = { auths: { [host]: { auth } }, ...(currentContext === undefined ? {} : { currentContext }) };
    await writeFile(join(folder, "config.json"), JSON.stringify(config), { mode: 0o600, flag: "wx" });
    if (currentContext !== undefined) await symlink(join(dockerFolder, "contexts"), join(folder, "contexts"));
    return await use(folder);
  } finally {
    await forgetRegistryLogin(directory);
  }
}

/** What is not there is as good. */
export const forgetRegistryLogin = ({ registryLogin }: StateDirectory): Promise<void> => rm(registryLogin, { recursive: true, force: true });

/** An unreadable file names none: then the engine's default is asked, and says itself what is wrong. */
async function contextOf(dockerFolder: string): Promise<string | undefined> {
  try {
    const config: unknown = JSON.parse(await readFile(join(dockerFolder, "config.json"), "utf8"));
    const name: unknown = typeof config === "object" && config !== null && "currentContext" in config ? config.currentContext : undefined;
    return typeof name === "string" && /^[A-Za-z0-9][A-Za-z0-9_.+-]{0,200}$/.test(name) ? name : undefined;
  } catch {
    return undefined;
  }
}
