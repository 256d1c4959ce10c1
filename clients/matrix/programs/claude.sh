# One non-interactive run of Claude Code. --bare takes its key from the environment.
how=$1 prompt=$2
if [ "$how" = stream ]; then
	"$CLAUDE" -p "$prompt" --bare --output-format stream-json --verbose --include-partial-messages </dev/null
else
	"$CLAUDE" -p "$prompt" --bare </dev/null
fi
