from fl.report.score_details import score_details

ONE, TWO, THREE = "0xa", "0xb", "0xc"
CLIENTS = [{"account": ONE, "name": "north"}, {"account": TWO, "name": "<b>south"}, {"account": THREE, "name": "west"}]


def played(number, *, classes=("0", "1"), duplicates=()):
    return {
        "round": number,
        "scores": {ONE: 0.5, TWO: 0.4, THREE: 0.0},
        "duplicates": [list(group) for group in duplicates],
        "reading": {
            "errors": {ONE: 0.1, TWO: 0.1, THREE: None},
            "untold": [[ONE, TWO]],
            "classes": list(classes),
            "by_class": {ONE: [0.5, 0.0], TWO: [0.1, 0.3], THREE: [-0.1, 0.0]},
        },
    }


def test_a_reader_sees_who_is_not_told_apart_and_what_was_paid_for():
    page = score_details({"clients": CLIENTS, "rounds": [played(1), played(2)]})
    assert "In round 2, 1 of 3 pairs of clients are not told apart at 95 % confidence" in page
    assert "Not told apart from" in page
    assert "Most for" in page
    assert "nobody" in page  # west is told apart from both
    assert "nothing" in page  # and was paid for no class
    assert "<b>south" not in page
    assert "&lt;b&gt;south" in page


def test_groups_that_shared_a_weight_are_listed():
    page = score_details({"clients": CLIENTS, "rounds": [played(1, duplicates=[(ONE, THREE)])]})
    assert "Round 1: <bdi>north, west</bdi>" in page


def test_a_run_that_was_not_read_says_how_it_would_be():
    unread = {"clients": CLIENTS, "rounds": [{"round": 1, "scores": {}, "reading": None}]}
    page = score_details({**unread, "task": {"attested": False}})
    assert "scorer.read_clients" in page
    assert "table" not in page
    attested = score_details({**unread, "task": {"attested": True}})
    assert attested == "<p>This task's rule states no standard errors, and splits no score by class.</p>"


def test_the_errors_of_a_sampled_rule_are_over_its_draws():
    round_ = played(1)
    round_["reading"]["over"] = "over drawn coalitions"
    page = score_details({"clients": CLIENTS, "rounds": [round_]})
    assert "scores with their standard errors over drawn coalitions" in page
    assert "other draws of the rule could have turned them round" in page


def test_a_regression_and_a_thousand_classes_have_no_table_of_classes():
    for classes in ((), tuple(map(str, range(1000)))):
        round_ = played(1, classes=classes)
        round_["reading"]["by_class"] = {ONE: [0.0] * len(classes)}
        assert "Most for" not in score_details({"clients": CLIENTS, "rounds": [round_]})
