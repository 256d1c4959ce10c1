# With the requests library, or with httpx where the last argument says so.
import json
import os
import sys

how, prompt, library = sys.argv[1:4]
url = os.environ.get("BASE", "https://api.openai.com") + "/v1/chat/completions"
headers = {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
ask = {"model": "gpt-fake", "stream": how == "stream", "messages": [{"role": "user", "content": prompt}]}


def show(lines):
    for line in lines:
        if line.startswith("data: {"):
            print(json.loads(line[6:])["choices"][0]["delta"].get("content", ""), flush=True)


def failed(status, text):
    sys.exit("%d: %s" % (status, json.loads(text)["message"]))


if library == "requests":
    import requests

    answer = requests.post(url, json=ask, headers=headers, stream=how == "stream")
    if not answer.ok:
        failed(answer.status_code, answer.text)
    if how == "stream":
        show(answer.iter_lines(decode_unicode=True))
    else:
        print(answer.json()["choices"][0]["message"]["content"])
else:
    import httpx

    with httpx.stream("POST", url, json=ask, headers=headers) as answer:
        if answer.is_error:
            failed(answer.status_code, answer.read())
        if how == "stream":
            show(answer.iter_lines())
        else:
            print(json.loads(answer.read())["choices"][0]["message"]["content"])
