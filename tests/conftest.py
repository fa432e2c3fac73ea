"What pytest must know of these tests."


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than some seconds; `-m 'not slow'` leaves it out")
