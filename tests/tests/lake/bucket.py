# The buckets of moto, by boto3: `make BUCKET…`, or `fetch BUCKET FOLDER`.
import os
import sys

import boto3

endpoint, what, bucket, *rest = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=endpoint, region_name="eu-west-1")
if what == "make":
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
else:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    for found in [found for page in pages for found in page.get("Contents", [])]:
        path = os.path.join(rest[0], found["Key"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        s3.download_file(bucket, found["Key"], path)
        print(found["Key"])
