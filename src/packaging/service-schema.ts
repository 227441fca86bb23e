/** The form of `service:` in a recipe: a unit file, given or described, and what the packages do with it. */
import { z } from "zod";
import { line, sourceWords, template } from "./recipe-fields.ts";

const source = template(sourceWords);

const accountName = z.string().regex(/^[a-z_][a-z0-9_-]{0,30}$/, "must be the name of a user or group");
const hasDots = (path: string): boolean => path.split("/").some((segment) => segment === "." || segment === "..");
const absolutePath = line(300)
  .regex(/^(?:\/[A-Za-z0-9._+-]+)+$/, "must be an absolute path of letters, digits and . _ + -")
  .refine((path) => !hasDots(path), "must not have . and .. in it");

/** The name of a service in systemd and of a script in /etc/init.d; templates (`name@.service`) are no single service. */
const serviceName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$/, "must be a service name: letters, digits, dot, dash and _");

const unitName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9:_.@-]*\.(?:service|target|socket|mount|path)$/, "must be a unit, as docker.service");

/**
 * Data that a purge may delete: below the folders that the file hierarchy gives to variable data of packages (FHS 5), never such a folder
 * itself. Operators' homes, /etc and /srv are no package's to delete.
 */
const purgeable = absolutePath.regex(/^\/var\/(?:cache|lib|log|spool)\/./, "must be below /var/lib, /var/cache, /var/log or /var/spool");

const described = z.strictObject({
  exec: line(2_000)
    .regex(/^\/[^\s]+/, "must begin with the absolute path of the program")
    .describe("The program and its arguments, in the foreground, as systemd's ExecStart takes them (systemd.service(5))"),
  description: line(200).optional().describe("What it is; by default the product's summary"),
  user: accountName.optional().describe("Who runs it, one of users; by default root"),
  group: accountName.optional().describe("Its group; by default the user's"),
  environment: absolutePath.optional().describe("A file of NAME=value lines that is read if it is there, as /etc/default/product"),
  state: z
    .string()
    .regex(/^[A-Za-z0-9._+-]+(?:\/[A-Za-z0-9._+-]+)*$/, "must be a folder's name below /var/lib")
    .refine((path) => !hasDots(path), "must not have . and .. in it")
    .optional()
    .describe("Its folder below /var/lib, made before each start and owned by the user, mode 0750"),
  respawn: z.enum(["on-failure", "always", "no"]).default("on-failure").describe("When the service manager starts it again by itself"),
  reload: z.literal("SIGHUP").optional().describe("The signal upon which it reads its configuration again"),
  after: z.array(unitName).default([]).describe("Units that are started before it; the network always is"),
});

const service = z.strictObject({
  name: serviceName.optional().describe("Name of the service; by default the unit file's, or the product's"),
  unit: z.union([source, described]).describe("The systemd unit: a file of the recipe's folder, or exec and what goes with it, from which a unit is made"),
  enable: z.boolean().default(false).describe("Let a new installation start it at boot, unless the machine's presets say otherwise"),
  start: z.boolean().default(false).describe("Start it in a new installation"),
  restart: z
    .enum(["on-upgrade", "never"])
    .default("on-upgrade")
    .describe("What an upgrade does to a service that runs: restart it (default) or leave it. One that is stopped stays stopped"),
  openrc: source.optional().describe("An init script for OpenRC, for apk; by default one is made from the unit"),
  purge: z.array(purgeable).default([]).describe("Data that `apt purge` deletes; rpm and apk have no purge and keep it"),
});

export type ServiceDeclaration = z.output<typeof service> & {
  /** Where it stands in the recipe. */
  readonly at: readonly (string | number)[];
};
export type UnitDescription = z.output<typeof described>;

/**
 * Users of described units that the recipe does not declare, with their places. A part that was refused has not become a list: zod calls
 * checks of the whole all the same, and that part's own problem is reported already.
 */
export function undeclaredUsers(
  services: readonly ServiceDeclaration[],
  accounts: readonly { readonly name: string }[],
): readonly { readonly user: string; readonly at: (string | number)[] }[] {
  if (!Array.isArray(services) || !Array.isArray(accounts)) return [];
  return services.flatMap(({ unit, at }: ServiceDeclaration) => {
    const user = "exec" in unit ? unit.user : undefined;
    const isKnown = user === undefined || user === "root" || accounts.some(({ name }: { readonly name: string }) => name === user);
    return isKnown ? [] : [{ user, at: [...at, "unit", "user"] }];
  });
}

/** One service, or a list of them. */
export const servicesSchema = z
  .union([service, z.array(service)])
  .default([])
  .transform((value): readonly ServiceDeclaration[] =>
    Array.isArray(value) ? value.map((one, index) => ({ ...one, at: ["service", index] })) : [{ ...value, at: ["service"] }],
  )
  .describe("Services that the packages install: systemd units in deb and rpm, OpenRC scripts in apk");
