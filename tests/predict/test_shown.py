from bit_keras.inference.prediction import Prediction
from bit_keras.predict.shown import ShownPredictions


def test_a_table_of_files_and_classes():
    rows = ShownPredictions(
        [
            Prediction("<a>.jpg", ("ant", "bee & wasp", "cow", "dog"), (0.7, 0.2, 0.06, 0.04), (0, 1, 2, 3)),
            Prediction("b.jpg", error="no such file"),
        ]
    )
    assert rows._repr_html_() == (
        "<table><tr><td>&lt;a&gt;.jpg</td><td>ant 70.0%</td><td>bee &amp; wasp 20.0%</td><td>cow 6.0%</td></tr>"
        "<tr><td>b.jpg</td><td>cannot be read: no such file</td></tr></table>"
    )
    assert rows == list(rows)


def test_a_long_list_is_cut():
    rows = ShownPredictions([Prediction(f"{k}.jpg", ("ant",), (1.0,), (0,)) for k in range(1_051)])
    page = rows._repr_html_()
    assert page.count("<tr>") == 51
    assert "49.jpg" in page
    assert "<td>... and 1,001 more</td>" in page
