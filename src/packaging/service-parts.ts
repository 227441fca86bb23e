/**
 * Everything that `service:` and `users:` add to one package, as a value: files and folders, scripts, relations. The recipe's own files and
 * hand-written scripts go in, because what is added depends on them.
 */
import { bytesSource } from "../formats/byte-source.ts";
import { comparePaths } from "../formats/entry-path.ts";
import type { Dependency, FileEntry, PackageEntry, ScriptName } from "../formats/package.ts";
import { SlipwayError } from "../model/errors.ts";
import { insideFolder } from "./file-rules.ts";
import { maintainerScripts, type ScriptRequest } from "./maintainer-scripts.ts";
import { openrcService } from "./openrc-script.ts";
import type { Recipe } from "./recipe.ts";
import { RecipeError } from "./recipe-error.ts";
import type { ServiceDeclaration } from "./service-schema.ts";
import { describedUnit, parseUnit, type Unit, unitValues } from "./service-unit.ts";
import { isSharedDirectory } from "./shared-directories.ts";
import { readSourceText } from "./source-text.ts";
import { expandTemplate, type Template, type TemplateValues } from "./templates.ts";
import { accountDependencies, type ScriptFormat, sysusersFile, sysusersProvides } from "./users-accounts.ts";
import { type Account, hasHome } from "./users-schema.ts";

export type ServiceParts = {
  /** In addition to the recipe's own, sorted. */
  readonly entries: readonly PackageEntry[];
  /** All of the package's, the hand-written ones among them. */
  readonly scripts: Readonly<Partial<Record<ScriptName, string>>>;
  readonly provides: readonly Dependency[];
  readonly depends: readonly Dependency[];
};

/** A service with the texts that its files will have. */
export type ResolvedService = Pick<ServiceDeclaration, "enable" | "start" | "restart" | "purge"> & {
  readonly name: string;
  readonly unitText: string;
  readonly unit: Unit;
  /** A hand-written init script. */
  readonly openrc?: string;
  readonly place: string;
};

export type PartsRequest = Omit<ScriptRequest, "services"> & { readonly services: readonly ResolvedService[] };

const unitSizeLimit = 256 * 1024;
const homeMode = 0o750;

/** What the recipe's services ship for one target, as far as it is known without the disk: for the plan's list of inputs. */
export function serviceInputs(recipe: Recipe, values: TemplateValues): readonly string[] {
  return recipe.service.flatMap((service) => [service.unit, service.openrc].flatMap((one) => (isTemplate(one) ? [expandTemplate(one, values)] : [])));
}

const isTemplate = (value: ServiceDeclaration["unit"] | ServiceDeclaration["openrc"]): value is Template => value !== undefined && "parts" in value;

/**
 * Reads the unit files and init scripts of the recipe's services. Throws RecipeError for paths out of the folder, names that occur twice and
 * a unit that cannot do what is asked of it, `source_missing` and `source_unusable` for the files; each names the recipe's line.
 */
export async function resolveServices(recipe: Recipe, values: TemplateValues, folder: string): Promise<readonly ResolvedService[]> {
  const services: ResolvedService[] = [];
  const reading = { folder, limitBytes: unitSizeLimit, subject: "service" };
  for (const service of recipe.service) {
    const unitPath = isTemplate(service.unit) ? insideFolder(recipe, expandTemplate(service.unit, values), [...service.at, "unit"]) : undefined;
    const place = recipe.placeOf([...service.at, "unit"]);
    const name = service.name ?? (unitPath === undefined ? recipe.name : unitName(unitPath, place));
    const unitText = isTemplate(service.unit) ? await readSourceText(unitPath ?? "", { ...reading, place }) : describedUnit(service.unit, recipe);
    const parsed = parseUnit(unitText);
    if ("badLine" in parsed)
      throw new SlipwayError("source_unusable", `${unitPath}:${parsed.lineNumber}: ${JSON.stringify(parsed.badLine.slice(0, 100))} has no place in a unit`, {
        place,
      });
    const { unit } = parsed;
    if (unitValues(unit, "Service", "ExecStart").length === 0) {
      throw new SlipwayError("source_unusable", `${unitPath} starts nothing: it has no ExecStart under [Service]`, { place });
    }
    if (service.enable && !unit.has("Install")) {
      throw new RecipeError([{ place: recipe.placeOf([...service.at, "enable"]), message: `service: ${unitPath} cannot be enabled: it has no [Install]` }]);
    }
    if (services.some((other) => other.name === name)) throw new RecipeError([{ place, message: `service: two services are named ${name}` }]);
    const openrcPath = service.openrc === undefined ? undefined : insideFolder(recipe, expandTemplate(service.openrc, values), [...service.at, "openrc"]);
    const { enable, start, restart, purge } = service;
    services.push({
      name,
      unitText,
      unit,
      place,
      enable,
      start,
      restart,
      purge,
      ...(openrcPath === undefined ? {} : { openrc: await readSourceText(openrcPath, { ...reading, place: recipe.placeOf([...service.at, "openrc"]) }) }),
    });
  }
  return services;
}

function unitName(path: string, place: string): string {
  const name = /([^/]+)\.service$/.exec(path)?.[1];
  if (name !== undefined && /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) return name;
  throw new RecipeError([{ place, message: `service.unit: ${path} must be a unit named <service>.service, or give the service a name` }]);
}

/** Pure. Throws `source_unusable` for what a format cannot do and RecipeError for files that the recipe ships itself. */
export function serviceParts(request: PartsRequest): ServiceParts {
  const { format, accounts, services, packageName } = request;
  const added = [...services.flatMap((service) => serviceEntries(service, format)), ...accountEntries(packageName, accounts, request)];
  for (const entry of added) {
    if (!request.entries.some((other) => other.path === entry.path)) continue;
    const place = services[0]?.place;
    throw new SlipwayError("recipe_invalid", `${entry.path} is written by packages.files and by service or users`, {
      ...(place === undefined ? {} : { place }),
      hint: "leave it out of packages.files",
    });
  }
  const entries = added.toSorted((left, right) => comparePaths(left.path, right.path));
  return {
    entries,
    scripts: maintainerScripts({ ...request, entries: [...request.entries, ...entries] }),
    provides: format === "rpm" ? sysusersProvides(accounts) : [],
    depends: accountDependencies(accounts, format),
  };
}

function textFile(path: string, text: string, options: Partial<Pick<FileEntry, "mode" | "config">> = {}): FileEntry {
  return { kind: "file", path, mode: 0o644, owner: "root", group: "root", source: bytesSource(Buffer.from(text)), ...options };
}

function serviceEntries(service: ResolvedService, format: ScriptFormat): readonly FileEntry[] {
  const { name } = service;
  if (format === "apk") {
    const { initScript, configuration } =
      service.openrc === undefined ? openrcService(name, service.unit, service.place) : { initScript: service.openrc, configuration: undefined };
    return [
      textFile(`/etc/init.d/${name}`, initScript, { mode: 0o755 }),
      ...(configuration === undefined ? [] : [textFile(`/etc/conf.d/${name}`, configuration, { config: "noreplace" })]),
    ];
  }
  return [
    textFile(`/usr/lib/systemd/system/${name}.service`, service.unitText),
    ...(service.enable ? [textFile(`/usr/lib/systemd/system-preset/50-${name}.preset`, `enable ${name}.service\n`)] : []),
  ];
}

/** sysusers.d for systemd's formats, and home directories that are neither the system's nor in the recipe's files. */
function accountEntries(packageName: string, accounts: readonly Account[], request: PartsRequest): readonly PackageEntry[] {
  const isBrought = (home: string): boolean => isSharedDirectory(home) || request.entries.some((entry) => entry.path === home && entry.kind === "directory");
  const homes = accounts.filter(
    (account, index) => hasHome(account) && !isBrought(account.home) && accounts.findIndex((other) => other.home === account.home) === index,
  );
  return [
    ...(accounts.length > 0 && request.format !== "apk" ? [textFile(`/usr/lib/sysusers.d/${packageName}.conf`, sysusersFile(accounts))] : []),
    ...homes.map(({ home, name }): PackageEntry => ({ kind: "directory", path: home, mode: homeMode, owner: name, group: name })),
  ];
}
