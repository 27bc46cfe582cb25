"""A project's own demands on a checkpoint, written over the plugin's fixtures.

From the repository root: pytest examples/custom_gate
"""

from __future__ import annotations

import pytest
import torch


def test_the_error_stays_below_a_tenth_of_the_radius(linearity_result, linearity_radius):
    """Stricter than the gate at small radii; runs once per radius."""
    assert linearity_result.mean_relative_error <= 0.1 * linearity_radius


def test_the_error_is_proportional_to_the_radius(linearity_measurement):
    """What a smooth map does close to a point: ten times the radius, ten times the error."""
    radii = linearity_measurement.radii
    mean = linearity_measurement.relative_error.mean(dim=(1, 2))
    growth = float(mean[radii.index(1.0)] / mean[radii.index(0.1)])
    assert growth == pytest.approx(10, rel=0.2)


def test_no_prompt_is_far_from_linear(linearity_measurement, linearity_probes):
    """The gate looks at means; this looks at the worst prompt of the smallest radius."""
    cosine = linearity_measurement.cosine_similarity[0].amin(dim=0)
    worst = int(cosine.argmin())
    assert cosine[worst] > 0.99, f"not linear: {linearity_probes.probes[worst].text!r}"


def test_the_checkpoint_still_adds(linearity_model, linearity_tokenizer):
    """The same model, already loaded, for any other test."""
    question = [{"role": "user", "content": "Add the two numbers.\n37+45"}]
    prompt = linearity_tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        answer = linearity_model.generate(**prompt, max_new_tokens=4, do_sample=False)
    said = linearity_tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :])
    assert said.startswith("82")
