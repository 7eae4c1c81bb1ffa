import pytest

from locking.redis.url import RedisAddress


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:s3cret@host:6379/0",
        "sentinel://:s3cret@a:1;sentinel://:s3cret@b:2/0?master_name=fleet&sentinel_password=s3cret",
        "sentinel://:s3cret@a:1;:s3cret@b:2/0?master_name=fleet",
    ],
)
def test_no_password_is_in_the_address_that_an_error_shows(url: str) -> None:
    assert "s3cret" not in str(RedisAddress(url))
