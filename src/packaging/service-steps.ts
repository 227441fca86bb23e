/**
 * What packages do with services, as lines of shell for each moment of each format.
 *
 * One policy for all: an upgrade restarts what ran before it and leaves alone what did not; nothing is enabled or started that the recipe
 * does not enable or start, and that in a new installation only; a removal stops and disables. Whether a service ran is noted before
 * anything else happens, because a script of the old package may stop it: rpm runs the old preun after the new post.
 *
 * systemd is spoken to only where it runs (`/run/systemd/system`, sd_booted(3)), OpenRC only where it has booted.
 */
import type { ServiceDeclaration } from "./service-schema.ts";
import { shellWord } from "./shell-word.ts";

export type ServicePolicy = Pick<ServiceDeclaration, "enable" | "start" | "restart" | "purge"> & { readonly name: string };

/** Shell functions that the lines call. `attempt`: what a service manager refuses is told and does not break the package manager. */
export const serviceFunctions = {
  systemd_runs: "systemd_runs() { [ -d /run/systemd/system ] && command -v systemctl > /dev/null; }",
  openrc_runs: "openrc_runs() { [ -e /run/openrc/softlevel ] && command -v rc-service > /dev/null; }",
  attempt: 'attempt() { "$@" || echo "warning: \'$*\' ended with $?" >&2; }',
  // policy-rc.d(8): an operator, or whoever builds an image, forbids actions with 101.
  may: 'may() { [ ! -x /usr/sbin/policy-rc.d ] || /usr/sbin/policy-rc.d "$2" "$1" > /dev/null 2>&1 || [ $? -ne 101 ]; }',
} as const;

export type ServiceFunction = keyof typeof serviceFunctions;

/** Where the time between two scripts of one upgrade is bridged: /run, so that a reboot ends it. */
function noteFolder(packageName: string): string {
  return `/run/slipway-${packageName}`;
}

const unitOf = (service: ServicePolicy): string => shellWord(`${service.name}.service`);
const indented = (lines: readonly string[]): readonly string[] => lines.map((line) => `  ${line}`);

function when(condition: string, lines: readonly string[]): readonly string[] {
  return lines.length === 0 ? [] : [`if ${condition}; then`, ...indented(lines), "fi"];
}

/** `guard` is deb's policy-rc.d for one action, or nothing. */
type Guard = (action: string, unit: string, lines: readonly string[]) => readonly string[];
const unguarded: Guard = (_action, _unit, lines) => lines;
const byPolicy: Guard = (action, unit, lines) => when(`may ${action} ${unit}`, lines);

function noteRunning(services: readonly ServicePolicy[], folder: string, isEnablementNoted: boolean): readonly string[] {
  const restarted = services.filter((service) => service.restart === "on-upgrade");
  const noted = services.flatMap((service) => {
    const unit = unitOf(service);
    return [
      ...(restarted.includes(service) ? [`if systemctl is-active --quiet ${unit}; then : > ${folder}/${unit}.active; fi`] : []),
      ...(isEnablementNoted ? [`if systemctl is-enabled --quiet ${unit} 2> /dev/null; then : > ${folder}/${unit}.enabled; fi`] : []),
    ];
  });
  return noted.length === 0 ? [] : [`mkdir -p ${folder}`, ...noted];
}

function restartNoted(services: readonly ServicePolicy[], folder: string, guard: Guard): readonly string[] {
  return services
    .filter((service) => service.restart === "on-upgrade")
    .flatMap((service) => {
      const unit = unitOf(service);
      return when(`[ -e ${folder}/${unit}.active ]`, guard("restart", unit, [`attempt systemctl restart ${unit}`]));
    });
}

/** `preset` enables through the preset file in the package, which one of the operator's overrules (systemd.preset(5)). */
function beginNew(services: readonly ServicePolicy[], guard: Guard): readonly string[] {
  return services.flatMap((service) => {
    const unit = unitOf(service);
    return [
      ...(service.enable ? [`attempt systemctl preset ${unit}`] : []),
      ...(service.start ? guard("start", unit, [`attempt systemctl start ${unit}`]) : []),
    ];
  });
}

const reload = "attempt systemctl daemon-reload";

/** Moments of a deb (deb-postinst(5) and its siblings; the arguments are dpkg's). */
export function debServiceSteps(services: readonly ServicePolicy[], packageName: string) {
  const folder = noteFolder(packageName);
  const begin = beginNew(services, byPolicy);
  const restart = restartNoted(services, folder, byPolicy);
  return {
    preinst: when("systemd_runs", [
      `rm -rf ${folder}`,
      // After "remove", dpkg still names the version of the configuration that stayed: to systemd the installation is new all the same.
      ...(begin.length === 0 ? [] : when('[ "$1" = install ]', [`mkdir -p ${folder}`, `: > ${folder}/new`])),
      ...when('[ "$1" = upgrade ]', noteRunning(services, folder, false)),
    ]),
    postinst: when('[ "$1" = configure ] && systemd_runs', [
      reload,
      ...(begin.length === 0
        ? restart
        : [`if [ -z "$2" ] || [ -e ${folder}/new ]; then`, ...indented(begin), ...(restart.length === 0 ? [] : ["else", ...indented(restart)]), "fi"]),
      `rm -rf ${folder}`,
    ]),
    prerm: when(
      '[ "$1" = remove ] && systemd_runs',
      services.flatMap((service) => [
        ...byPolicy("stop", unitOf(service), [`attempt systemctl stop ${unitOf(service)}`]),
        `attempt systemctl disable ${unitOf(service)}`,
      ]),
    ),
    postrm: [
      'case "$1" in',
      ...indented(["remove)", ...indented([`if systemd_runs; then ${reload}; fi`, ";;"])]),
      ...indented(["abort-install | abort-upgrade)", ...indented([`rm -rf ${folder}`, ";;"])]),
      ...(services.some((service) => service.purge.length > 0)
        ? indented(["purge)", ...indented([...services.flatMap((service) => service.purge.map((path) => `rm -rf -- ${shellWord(path)}`)), ";;"])])
        : []),
      "esac",
    ],
  };
}

/** Moments of an rpm; `$1` is how many of the package will be there afterwards (rpm-scriptlets). */
export function rpmServiceSteps(services: readonly ServicePolicy[], packageName: string) {
  const folder = noteFolder(packageName);
  return {
    pre: when("systemd_runs", [`rm -rf ${folder}`, ...when('[ "$1" -gt 1 ]', noteRunning(services, folder, true))]),
    post: when("systemd_runs", [reload, ...when('[ "$1" -eq 1 ]', beginNew(services, unguarded))]),
    preun: when(
      '[ "$1" -eq 0 ] && systemd_runs',
      services.map((service) => `attempt systemctl disable --now ${unitOf(service)}`),
    ),
    postun: when('[ "$1" -eq 0 ] && systemd_runs', [reload]),
    // By the note alone: which number rpm gives here has changed over its versions.
    posttrans: when(`[ -d ${folder} ] && systemd_runs`, [
      reload,
      ...services.flatMap((service) => {
        const unit = unitOf(service);
        return when(`[ -e ${folder}/${unit}.enabled ] && ! systemctl is-enabled --quiet ${unit} 2> /dev/null`, [`attempt systemctl enable ${unit}`]);
      }),
      ...restartNoted(services, folder, unguarded),
      `rm -rf ${folder}`,
    ]),
  };
}

/** Moments of an apk, with OpenRC. Being in a runlevel is a link, which an image without a booted OpenRC may get as well. */
export function apkServiceSteps(services: readonly ServicePolicy[]) {
  const names = services.map((service) => ({ ...service, name: shellWord(service.name) }));
  return {
    postInstall: [
      ...when(
        "command -v rc-update > /dev/null",
        names.filter((service) => service.enable).map((service) => `attempt rc-update add ${service.name} default`),
      ),
      ...when(
        "openrc_runs",
        names.filter((service) => service.start).map((service) => `attempt rc-service ${service.name} start`),
      ),
    ],
    postUpgrade: when(
      "openrc_runs",
      names.filter((service) => service.restart === "on-upgrade").map((service) => `attempt rc-service --ifstarted ${service.name} restart`),
    ),
    preDeinstall: [
      ...when(
        "openrc_runs",
        names.map((service) => `attempt rc-service --ifstarted ${service.name} stop`),
      ),
      ...when(
        "command -v rc-update > /dev/null",
        names.map((service) => `rc-update --all del ${service.name} > /dev/null 2>&1 || : # in no runlevel`),
      ),
    ],
  };
}
