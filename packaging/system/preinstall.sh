#!/bin/sh
# Before the files: the user that the service runs as, so that they can be its group's.
set -e

if uid=$(id -u keeper 2>/dev/null) && [ "$uid" -ge 1000 ]; then
	echo "keeper: a person's account is named keeper (uid $uid); the service must not run as it: rename it first" >&2
	exit 1
fi
getent group keeper >/dev/null || groupadd --system keeper
getent passwd keeper >/dev/null ||
	useradd --system --gid keeper --no-create-home --home-dir /var/lib/keeper --shell /usr/sbin/nologin keeper
