# Debian's boto3 knows no Bedrock runtime: it is S3 that it is asked for. Like s3.mjs.
# The fake has one host, so the bucket is in the path.
import io
import os
import sys

import boto3
from botocore.config import Config

how, prompt = sys.argv[1:3]
path_style = Config(s3={"addressing_style": "path"})
s3 = boto3.client("s3", endpoint_url=os.environ.get("AWS_ENDPOINT_URL_S3"), config=path_style)
if how == "stream":
    lines = ["Hello\n", " from\n", " the\n", " fake\n", " API.\n", prompt + "\n"]
    s3.upload_fileobj(io.BytesIO("".join(lines).encode()), "fake", "boto.txt")
    for line in s3.get_object(Bucket="fake", Key="boto.txt")["Body"].iter_lines():
        print(line.decode())
else:
    s3.put_object(Bucket="fake", Key="asked.txt", Body=prompt)
    print(s3.get_object(Bucket="fake", Key="hello.txt")["Body"].read().decode())
