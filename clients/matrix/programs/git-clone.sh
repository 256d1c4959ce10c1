# The address comes from git's own configuration (url.<base>.insteadOf) in the
# environment. A prompt that is not "Hello" is part of the repository's name.
prompt=$2
to=$(mktemp -d)
trap 'rm -rf "$to"' EXIT
name=hello
[ "$prompt" = Hello ] || name=$prompt
git clone "https://github.com/octo/$name.git" "$to/clone" && cat "$to/clone/README.md"
