"""Who may read what from the test servers. Nothing here is secret."""

#: Reads private repositories of the hub; its holder has not accepted the terms of the gated ones.
HUB_TOKEN = "hf_test_reader"
#: Reads the gated ones too.
HUB_MEMBER_TOKEN = "hf_test_member"

CIVITAI_TOKEN = "civitai-test-token"

S3_ACCESS_KEY_ID = "AKIATESTSOURCES"
S3_SECRET_ACCESS_KEY = "test/sources+secret/access+key"
#: As a token service hands them out: they hold only together with the session token.
S3_TEMPORARY_KEY_ID = "ASIATESTSOURCES"
S3_TEMPORARY_SECRET = "temporary/secret"
S3_SESSION_TOKEN = "session//token=="
S3_REGION = "us-east-1"
#: A bucket that anyone may read.
S3_PUBLIC_BUCKET = "public"

#: Signs the addresses that the hub and the catalogue redirect to.
CDN_KEY = b"test-sources-cdn"
