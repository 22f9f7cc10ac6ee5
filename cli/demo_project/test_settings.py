import settings


def test_a_request_is_tried_again() -> None:
    assert settings.RETRIES == 3


def test_a_request_is_given_up_in_the_end() -> None:
    assert settings.TIMEOUT <= 60
