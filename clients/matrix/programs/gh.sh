# A prompt that is not "Hello" becomes an issue.
prompt=$2
if [ "$prompt" = Hello ]; then
	gh api user --jq .bio
else
	gh api repos/octo/hello/issues -f title='A title' -f body="$prompt"
fi
