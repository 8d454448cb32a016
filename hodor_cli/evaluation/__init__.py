"""The field's metrics (J, F, J&F, frames per second), and pictures of what went wrong.

result = evaluate("DAVIS", model=load_model("mini"))        runner.py      run a model and score it
result = evaluate("DAVIS", predictions="masks_of_anyone")   runner.py      score existing masks
score_sequence(true_labels, predicted_labels)               scoring.py     the label maps of one sequence
jaccard(truth, prediction), boundary_f(truth, prediction)   metrics.py     one mask
compare(["A/results.json", "B/results.json"])               comparison.py  is B better, or just lucky?
evaluate_given(dataset, segmenter, GivenSettings((1, 2)))   given.py       the value of additional masks
"""
