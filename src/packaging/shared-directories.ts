/** Folders that belong to the system and not to a package: an rpm that owned one would conflict with the package `filesystem`. */

const below = (parent: string, names: string): readonly string[] => names.split(" ").map((name) => `${parent}/${name}`);

/** FHS 3.0 and what `rpm -ql filesystem systemd` list on Fedora, as far as a product writes there. */
const sharedDirectories: ReadonlySet<string> = new Set([
  ...below("", "bin boot dev etc home lib lib64 media mnt opt proc root run sbin srv sys tmp usr var"),
  ...below("/etc", "alternatives bash_completion.d cron.d cron.daily cron.hourly cron.monthly cron.weekly default init.d ld.so.conf.d logrotate.d"),
  ...below("/etc", "modprobe.d modules-load.d opt pam.d profile.d rsyslog.d security skel ssl sudoers.d sysconfig sysctl.d systemd systemd/system"),
  ...below("/etc", "systemd/user tmpfiles.d udev udev/rules.d xdg"),
  ...below("/lib", "systemd systemd/system udev udev/rules.d"),
  ...below("/usr", "bin games include lib lib64 libexec local sbin share src"),
  ...below(
    "/usr/lib",
    "binfmt.d modprobe.d modules-load.d sysctl.d systemd systemd/system systemd/system-preset systemd/user sysusers.d tmpfiles.d udev udev/rules.d",
  ),
  ...below("/usr/local", "bin etc games include lib lib64 libexec man sbin share src"),
  ...below("/usr/share", "applications bash-completion bash-completion/completions dbus-1 dict doc fish fish/vendor_completions.d fonts games icons info"),
  ...below("/usr/share", "licenses locale man metainfo mime misc pixmaps polkit-1 themes zoneinfo zsh zsh/site-functions zsh/vendor-completions"),
  ...below("/usr/share/man", "man1 man2 man3 man4 man5 man6 man7 man8 man9"),
  ...below("/var", "cache crash games lib local lock log mail opt run spool tmp"),
]);

export function isSharedDirectory(path: string): boolean {
  return sharedDirectories.has(path);
}
