#!/bin/sh
# After removal: systemd forgets the unit; the state in /var/lib/jaco is deleted only when dpkg purges.
set -e
if [ -d /run/systemd/system ] && command -v systemctl > /dev/null; then
  systemctl daemon-reload
fi
if [ "${1:-}" = purge ]; then
  rm -rf /var/lib/jaco
fi
