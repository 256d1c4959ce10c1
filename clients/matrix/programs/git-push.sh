# Plain: a small push. Stream: one above 1 MB, which git sends in chunks, after a
# probe. The prompt is in a file.
how=$1 prompt=$2
to=$(mktemp -d)
trap 'rm -rf "$to"' EXIT
cd "$to" && git init -q && git config user.name T && git config user.email t@example.org
head -c "$([ "$how" = stream ] && echo 2000000 || echo 200)" /dev/urandom >noise.bin
echo "$prompt" >prompt.txt
git add . && git commit -q -m noise
branch=b-$$-$(date +%N)
git push https://github.com/octo/hello.git "HEAD:refs/heads/$branch" && echo pushed
