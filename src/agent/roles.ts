/** Who may ask the agent for what: roles, and the file that holds the hashes of bearer tokens (never the tokens). */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { stat } from "node:fs/promises";
import { z } from "zod";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";

/** Every role may also read. */
export const roles = ["read", "install", "rollback"] as const;
export type Role = (typeof roles)[number];

export type Caller = {
  /** Of the token; `local` for who may open the Unix socket. */
  readonly name: string;
  readonly roles: ReadonlySet<Role>;
};

/** Who may open the socket could run `slipway upgrade` as well: the file's mode is the permission. */
export const localCaller: Caller = { name: "local", roles: new Set(roles) };

const tokenFileSchema = z.strictObject({
  schema: z.literal(1),
  tokens: z
    .array(
      z.strictObject({
        name: z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, "must be a name of lower-case letters, digits, dot, dash"),
        roles: z.array(z.enum(roles)).min(1),
        /** Of the whole token. A token is 32 random bytes, so that no slow hash is needed. */
        sha256: z.string().regex(/^[0-9a-f]{64}$/),
      }),
    )
    .max(200),
});

type TokenFile = z.output<typeof tokenFileSchema>;

const sizeLimitBytes = 128 * 1024;
const tokenPrefix = "slagent_";
const hashOf = (token: string): Buffer => createHash("sha256").update(token).digest();

/** Throws `installation_invalid` for a file that is not ours, or that others may write. An absent file holds no tokens. */
export async function readTokens(path: string): Promise<TokenFile> {
  try {
    const { mode } = await stat(path);
    if (process.platform !== "win32" && (mode & 0o022) !== 0)
      throw new SlipwayError("installation_invalid", `${path} may be written by others (mode ${(mode & 0o777).toString(8)})`, { place: path });
    return tokenFileSchema.parse(JSON.parse((await readFileBounded(path, sizeLimitBytes)).toString("utf8")));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return { schema: 1, tokens: [] };
    if (error instanceof SlipwayError) throw error;
    throw new SlipwayError("installation_invalid", "the token file is not one that `slipway agent token` wrote", { place: path, cause: error });
  }
}

/** Makes a token, returned this one time, and keeps its hash; a token of the same name is replaced. */
export async function addToken(path: string, name: string, granted: readonly Role[]): Promise<string> {
  const token = `${tokenPrefix}${randomBytes(32).toString("base64url")}`;
  const others = (await readTokens(path)).tokens.filter((one) => one.name !== name);
  await writeTokens(path, { schema: 1, tokens: [...others, { name, roles: [...granted], sha256: hashOf(token).toString("hex") }] });
  return token;
}

/** Throws `not_found` where there is no token of that name. A running agent refuses it from its next request on. */
export async function removeToken(path: string, name: string): Promise<void> {
  const { tokens } = await readTokens(path);
  const left = tokens.filter((one) => one.name !== name);
  if (left.length === tokens.length) throw new SlipwayError("not_found", `there is no token ${name}`, { place: path });
  await writeTokens(path, { schema: 1, tokens: left });
}

async function writeTokens(path: string, file: TokenFile): Promise<void> {
  const parsed = tokenFileSchema.safeParse(file);
  if (!parsed.success) throw new SlipwayError("usage", parsed.error.issues[0]?.message ?? "the token is not valid");
  await writeFileAtomic(path, `${JSON.stringify(parsed.data, undefined, 1)}\n`);
}

/** Whose token it is; undefined for nobody's. Every entry is compared in constant time. */
export function callerOf(file: TokenFile, token: string): Caller | undefined {
  const given = hashOf(token.slice(0, 512));
  let found: Caller | undefined;
  for (const one of file.tokens) {
    if (timingSafeEqual(given, Buffer.from(one.sha256, "hex"))) found = { name: one.name, roles: new Set<Role>(["read", ...one.roles]) };
  }
  return found;
}
