# What boto3, the AWS SDK for Python, makes of the double's answers: one line of JSON.
import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint, now = sys.argv[1], int(sys.argv[2])
logs = boto3.client(
    "logs",
    endpoint_url=endpoint,
    region_name="eu-central-1",
    aws_access_key_id="AKIDEXAMPLE",
    aws_secret_access_key="secret",
    aws_session_token="session",
    config=Config(retries={"total_max_attempts": 1}),
)
place = {"logGroupName": "/sdk", "logStreamName": "a/b"}
DAY = 86_400_000


def told(call, **members):
    """The answer without what AWS adds, or the type of the error."""
    try:
        answer = call(**members)
    except ClientError as error:
        code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        # botocore makes a class of each error that the API's model has.
        return [code, status, type(error).__name__, error.response["Error"]["Message"]]
    answer.pop("ResponseMetadata")
    answer.pop("nextSequenceToken", None)
    return answer


def put(*events):
    return told(logs.put_log_events, **place, logEvents=[{"timestamp": t, "message": m} for t, m in events])


seen = {
    "no group": put((now, "a")),
    "group": told(logs.create_log_group, logGroupName="/sdk"),
    "no stream": put((now, "a")),
    "stream": told(logs.create_log_stream, **place),
    "again": told(logs.create_log_stream, **place),
    "retention": told(logs.put_retention_policy, logGroupName="/sdk", retentionInDays=3),
    "rejected": put(
        (now - 15 * DAY, "x"), (now - 3 * DAY - 1, "y"), (now - 3 * DAY, "a"), (now - 3 * DAY, "é"), (now + DAY, "z")
    ),
    "order": put((now, "b"), (now - 1, "c")),
    "throttled": put((now, "b")),
    "unavailable": put((now, "b")),
}
pages, token = [], None
while True:
    more = {"nextToken": token} if token else {}
    page = logs.get_log_events(**place, startFromHead=True, limit=1, **more)
    pages.append([event["message"] for event in page["events"]])
    if page["nextForwardToken"] == token:
        break
    token = page["nextForwardToken"]
seen["pages"] = pages
seen["deleted"] = told(logs.delete_log_stream, **place)
print(json.dumps(seen))
