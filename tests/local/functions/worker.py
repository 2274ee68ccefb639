"""Does what the bodies of its messages say, and writes into the media bucket what it was given.

A body is JSON: {"name": ..., "fail": how often, "crash": how often, "slow": seconds}.
"""

import json
import os
import time
from typing import Any

import boto3


def lambda_handler(event: dict[str, Any], context: Any) -> Any:
    s3 = boto3.client("s3")
    failed = []
    for record in event["Records"]:
        job = json.loads(record["body"])
        attempt = int(record["attributes"]["ApproximateReceiveCount"])
        s3.put_object(
            Bucket=os.environ["MEDIA_BUCKET"],
            Key=f"{job['name']}/{attempt}-{record['messageId']}",
            Body=json.dumps({"pid": os.getpid(), "batch": len(event["Records"]), "record": record}),
        )
        time.sleep(job.get("slow", 0))
        if attempt <= job.get("crash", 0):
            os._exit(1)
        if attempt <= job.get("raise", 0):
            raise RuntimeError("as told")
        if attempt <= job.get("malformed", 0):
            return {"batchItemFailures": [{"itemIdentifier": "nobody"}]}
        if attempt <= job.get("fail", 0):
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}
