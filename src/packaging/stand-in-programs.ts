/**
 * Programs that stand in for a running system inside a private root: each writes down how it was called and does as little as scripts rely on.
 *
 * All are scripts of busybox, whose sh is wrapped as well, so that the log shows which maintainer script ran with which arguments and what
 * it called. A line of the log has fields between tabs: `script`, ran or recorded, path, SHA-256 of the script, arguments; or `call`, name,
 * arguments.
 */

export const logPath = "/var/log/slipway-test.log";
/** What the stand-in of systemctl remembers: one empty file for each active or enabled unit. */
export const unitStateFolder = "/var/lib/slipway-test";

const shebang = "#!/bin/busybox sh";
/** Arguments as fields, none where there are none; a tab or line break inside one becomes a space. */
const fields = `fields() { for word in "$@"; do printf '\\t%s' "$(printf '%s' "$word" | /bin/busybox tr '\\t\\n' '  ')"; done; printf '\\n'; }`;

/** The interpreter of maintainer scripts; with `isRun` false it writes the call down and does nothing, for interpreters that are not here. */
export function interpreterProgram(isRun: boolean): string {
  return `${shebang}
${fields}
script=
for word in "$@"; do
  case "$word" in -*) ;; *) script=$word; break ;; esac
done
if [ -n "$script" ] && [ -f "$script" ]; then
  (
    while [ "$1" != "$script" ]; do shift; done
    shift
    printf 'script\\t${isRun ? "ran" : "recorded"}\\t%s\\t%s' "$script" "$(/bin/busybox sha256sum < "$script" | /bin/busybox cut -c1-64)"
    fields "$@"
  ) >> ${logPath}
fi
${isRun ? 'exec /bin/busybox sh "$@"' : "exit 0"}
`;
}

const recorder = (name: string, body: string): string => `${shebang}\n${fields}\n{ printf 'call\\t${name}'; fields "$@"; } >> ${logPath}\n${body}\n`;

const systemctl = `verb= units= now=
for word in "$@"; do
  case "$word" in
    --now) now=yes ;;
    -*) ;;
    *) if [ -z "$verb" ]; then verb=$word; else units="$units $word"; fi ;;
  esac
done
state() { echo "${unitStateFolder}/$1.$2"; }
for unit in $units; do
  case "$unit" in *.*) ;; *) unit=$unit.service ;; esac
  case "$verb" in
    start | restart | reload-or-restart) : > "$(state "$unit" active)" ;;
    stop) rm -f "$(state "$unit" active)" ;;
    enable | preset) : > "$(state "$unit" enabled)"; [ -z "$now" ] || : > "$(state "$unit" active)" ;;
    disable) rm -f "$(state "$unit" enabled)"; [ -z "$now" ] || rm -f "$(state "$unit" active)" ;;
    is-active) [ -e "$(state "$unit" active)" ] || exit 3 ;;
    is-enabled) [ -e "$(state "$unit" enabled)" ] || exit 1 ;;
  esac
done
exit 0`;

/** The last word is the account, as useradd(8) and groupadd(8) take it. */
const addAccount = (file: "passwd" | "group", line: string): string => `for word in "$@"; do name=$word; done
grep -q "^$name:" /etc/${file} || echo "${line}" >> /etc/${file}`;
const addUser = `for word in "$@"; do name=$word; done
grep -q "^$name:" /etc/passwd || echo "$name:x:500:500::/nonexistent:/usr/sbin/nologin" >> /etc/passwd
grep -q "^$name:" /etc/group || echo "$name:x:500:" >> /etc/group`;
const getent = `shift_file=$1
[ $# -gt 1 ] || { cat "/etc/$shift_file"; exit 0; }
grep "^$2:" "/etc/$shift_file" || exit 2`;

const nothing = "exit 0";
const systemdPrograms = {
  systemctl,
  "systemd-sysusers": nothing,
  "systemd-tmpfiles": nothing,
  udevadm: nothing,
};
const shadowPrograms = {
  useradd: addUser,
  adduser: addUser,
  groupadd: addAccount("group", "$name:x:500:"),
  addgroup: addAccount("group", "$name:x:500:"),
  usermod: nothing,
  userdel: nothing,
  groupdel: nothing,
  deluser: nothing,
  delgroup: nothing,
  getent,
};
const debianPrograms = {
  "deb-systemd-helper": nothing,
  "deb-systemd-invoke": nothing,
  "invoke-rc.d": nothing,
  "update-rc.d": nothing,
  "update-alternatives": nothing,
  ldconfig: nothing,
  "dpkg-statoverride": "exit 1", // no override is set
  "dpkg-maintscript-helper": nothing,
};
const openrcPrograms = { "rc-service": nothing, "rc-update": nothing, "rc-status": nothing };

/** Programs of the system that a format's packages are made for, by name. */
export const standInPrograms: Readonly<Record<"deb" | "rpm" | "apk", Readonly<Record<string, string>>>> = {
  deb: recorded({ ...systemdPrograms, ...shadowPrograms, ...debianPrograms }),
  rpm: recorded({ ...systemdPrograms, ...shadowPrograms, ldconfig: nothing }),
  apk: recorded(openrcPrograms),
};

function recorded(programs: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(programs).map(([name, body]) => [name, name === "getent" ? `${shebang}\n${body}\n` : recorder(name, body)]));
}
