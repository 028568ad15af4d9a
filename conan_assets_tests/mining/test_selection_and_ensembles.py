"""Variants and ensembles put survivors into an order; they lose none, take none twice and depend on the seed alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conan_assets.mining.candidates import places_within, ranks_within
from conan_assets.mining.ensembles import ENSEMBLES, cross_sample, intra_sample
from conan_assets.mining.selection import SELECTIONS, sampled_top_k, top1_sampled_top_k

SAMPLED = {"sample_from": 5, "temperature": 1.0}
PARAMETERS = {"best_first": {}, "sampled_top_k": SAMPLED, "top1_sampled_top_k": SAMPLED}


@st.composite
def survivors(draw):
    counts = draw(st.lists(st.integers(0, 12), min_size=1, max_size=6))
    queries = np.repeat(np.arange(len(counts)), counts)
    generator = np.random.default_rng(draw(st.integers(0, 1000)))
    scores = generator.normal(size=len(queries)).astype(np.float32)
    return queries, scores, generator.gumbel(size=len(queries))


@pytest.mark.parametrize("rule", SELECTIONS)
@given(survivors(), st.integers(1, 6))
def test_every_survivor_of_a_query_gets_a_place_of_its_own(rule, data, count):
    queries, scores, noise = data
    priority = SELECTIONS[rule](queries, places_within(queries), scores, noise, count, **PARAMETERS[rule])
    order = ranks_within(queries, -priority)
    for query in np.unique(queries):
        here = queries == query
        assert sorted(order[here].tolist()) == list(range(1, here.sum() + 1))
        assert len(set(priority[here].tolist())) == here.sum()


@given(survivors(), st.integers(1, 5))
def test_sampling_draws_the_first_k_from_the_best_and_leaves_the_rest_in_order(data, count):
    queries, scores, noise = data
    places = places_within(queries)
    priority = sampled_top_k(queries, places, scores, noise, count, **SAMPLED)
    assert (places[priority < count] < SAMPLED["sample_from"]).all()
    for query in np.unique(queries):
        here = queries == query
        assert (priority[here] < count).sum() == min(count, SAMPLED["sample_from"], here.sum())
        rest = places[here][priority[here] >= count]
        assert (np.argsort(priority[here][priority[here] >= count]) == np.argsort(rest)).all()


@given(survivors(), st.integers(1, 5))
def test_top1_sampling_always_takes_the_best_first(data, count):
    queries, scores, noise = data
    places = places_within(queries)
    priority = top1_sampled_top_k(queries, places, scores, noise, count, **SAMPLED)
    assert (priority[places == 0] == 0).all()


def test_sampling_weights_are_the_softmax_of_the_scores():
    scores = np.log(np.array([1.0, 2.0, 5.0]))
    queries = np.repeat(np.arange(20_000), 3)
    noise = np.random.default_rng(0).gumbel(size=len(queries))
    priority = sampled_top_k(
        queries, places_within(queries), np.tile(scores, 20_000), noise, 1, sample_from=3, temperature=1.0
    )
    drawn = np.bincount(places_within(queries)[priority == 0], minlength=3) / 20_000
    np.testing.assert_allclose(drawn, [1 / 8, 2 / 8, 5 / 8], atol=0.015)


def test_cross_sample_takes_all_negatives_of_a_query_from_its_teacher():
    ranks = np.array([[0, 1, 2, 0, 1], [2, 1, 0, 1, 0]])
    priority, copies = cross_sample(ranks, np.array([1, 1, 1, 0, 0]), 2, dedup=False)
    assert priority.tolist() == [2, 1, 0, 0, 1]
    assert copies.tolist() == [1] * 5


def test_intra_sample_counts_a_document_as_often_as_teachers_name_it():
    ranks = np.array([[0, 1, 2], [0, 2, 1]])
    priority, copies = intra_sample(ranks, np.zeros(3, int), 4, dedup=False)
    assert np.argsort(priority).tolist() == [0, 1, 2]
    assert copies.tolist() == [2, 1, 1]
    assert copies.sum() == 4


def test_intra_sample_with_dedup_counts_every_document_once():
    ranks = np.array([[0, 1, 2], [0, 2, 1]])
    priority, copies = intra_sample(ranks, np.zeros(3, int), 2, dedup=True)
    assert np.argsort(priority).tolist() == [0, 1, 2]
    assert copies.tolist() == [1, 1, 1]


@pytest.mark.parametrize("method", ENSEMBLES)
@given(st.integers(1, 10), st.integers(2, 4), st.integers(1, 8), st.booleans(), st.integers(0, 100))
def test_an_ensemble_gives_every_survivor_a_priority_and_at_least_one_copy(method, size, teachers, count, dedup, seed):
    generator = np.random.default_rng(seed)
    ranks = np.stack([generator.permutation(size) for _ in range(teachers)])
    chosen = np.full(size, generator.integers(teachers))
    priority, copies = ENSEMBLES[method](ranks, chosen, count, dedup=dedup)
    assert len(set(priority.tolist())) == size
    assert copies.min() >= 1
    assert not dedup or copies.max() == 1


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(-5, 5, width=32)), min_size=1, max_size=40))
def test_ranks_within_a_query_follow_scores_then_the_order_given(rows):
    rows = sorted(rows, key=lambda row: row[0])
    queries, scores = np.array([q for q, _ in rows]), np.array([s for _, s in rows], np.float32)
    ranks = ranks_within(queries, scores)
    for query in set(queries.tolist()):
        here = np.flatnonzero(queries == query)
        expected = here[np.argsort(-scores[here], kind="stable")]
        assert here[np.argsort(ranks[here])].tolist() == expected.tolist()
