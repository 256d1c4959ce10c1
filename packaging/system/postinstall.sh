#!/bin/sh
# After the files: the vault key and the admin token, made once and never replaced.
# dpkg says `configure`, and the version that was there before; rpm how many versions
# there are now.
set -e

random() { # prints 32 bytes of the kernel's, in base64
	head -c 32 /dev/urandom | base64 | tr -d '\n'
}

make_credential() { # file, what stands before the random part
	if [ -e "$1" ] || [ -e "$1.cred" ]; then # .cred: sealed by systemd-creds
		return
	fi
	(umask 077 && printf '%s%s\n' "$2" "$(random)" >"$1.new")
	mv "$1.new" "$1"
}

case "$1" in
configure | 1 | 2) ;;
*) exit 0 ;; # dpkg puts back what an upgrade that failed had taken away
esac

chown root:keeper /etc/keeper /etc/keeper/keeper.yaml
credentials=/etc/keeper/credentials
make_credential $credentials/vault-key base64:
make_credential $credentials/admin-token ''

[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
if [ "$1" = 2 ] || [ -n "$2" ]; then
	systemctl try-restart keeper.service || echo "keeper: it did not start again; see: journalctl -u keeper" >&2
else
	echo "keeper: start it with: systemctl enable --now keeper"
	echo "keeper: back up $credentials/vault-key apart from /var/lib/keeper; without it nothing there can be opened"
fi
