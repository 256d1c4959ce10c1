#!/bin/sh
# After the files are gone. Secrets, the audit log and the key that opens them stay,
# also when the package is purged: only an operator can know that nobody needs them.
set -e

case "$1" in
remove | purge | 0) ;;
*) exit 0 ;;
esac
if [ "$1" != remove ]; then
	for kept in /var/lib/keeper /etc/keeper/credentials; do
		[ ! -d "$kept" ] || echo "keeper: $kept is kept; remove it yourself where nobody needs its secrets and its audit log"
	done
fi
[ ! -d /run/systemd/system ] || systemctl daemon-reload
