/** The form of `users:` in a recipe: the accounts that the product's packages make. */
import { z } from "zod";

/** What every useradd and adduser takes (shadow's and busybox's common ground). */
const accountName = z
  .string()
  .regex(/^[a-z_][a-z0-9_-]{0,30}$/, "must be the name of a user or group: lower-case letters, digits, _ and -")
  .refine((name) => name !== "root", "root is there already");

/** Goes into /etc/passwd, sysusers.d and shell scripts: nothing that means something in one of them. */
const absolutePath = z
  .string()
  .regex(/^(?:\/[A-Za-z0-9._+-]+)+$/, "must be an absolute path of letters, digits and . _ + -")
  .refine((path) => !path.split("/").some((segment) => segment === "." || segment === ".."), "must not have . and .. in it");

/** Debian's word for "has none" (policy 9.2.3); rpm and apk have no better one. */
const noHome = "/nonexistent";

const accountSchema = z.strictObject({
  home: absolutePath.default(noHome).describe("Home directory; the package brings it with mode 0750, owned by the user. By default the user has none"),
  groups: z.array(accountName).default([]).describe("Further groups that the user is put into; one that is missing is made"),
  shell: z
    .union([z.literal("nologin"), absolutePath])
    .default("nologin")
    .describe("Login shell: nologin (default) or a path"),
  comment: z
    .string()
    .max(100, "is longer than 100 characters")
    .regex(/^[^\p{Cc}:"'\\%]*$/u, "must be one line without : \" ' \\ and %")
    .default("")
    .describe("Who it is, in /etc/passwd"),
});

/** Name -> account, in the order of the recipe. */
export const usersSchema = z
  .record(z.string(), accountSchema)
  .superRefine((record, context) => {
    for (const name of Object.keys(record)) {
      const problem = accountName.safeParse(name).error?.issues[0]?.message;
      if (problem !== undefined) context.addIssue({ code: "custom", message: problem, path: [name], params: { isAtKey: true } });
    }
  })
  .default({})
  .transform((record) => Object.entries(record).map(([name, rest]) => ({ name, ...rest })))
  .describe("System users, each with a group of its name, made by the packages before the files need them and never removed");

export type Account = z.output<typeof usersSchema>[number];

export function hasHome(account: Account): boolean {
  return account.home !== noHome;
}
