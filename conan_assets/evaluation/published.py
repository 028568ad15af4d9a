"""Published scores, in points, that our reports are read against; none of them was measured here.

The lines of xiaobu-v2 and NV-Embed-v2 are those of their model cards, as mteb's collection of results has them.
"""

CMTEB = {
    "Retrieval": {
        "CmedqaRetrieval": (47.61, 47.14),
        "CovidRetrieval": (92.35, 89.40),
        "DuRetrieval": (88.53, 89.44),
        "EcomRetrieval": (70.99, 70.50),
        "MMarcoRetrieval": (82.25, 82.19),
        "MedicalRetrieval": (67.94, 68.19),
        "T2Retrieval": (83.31, 85.01),
        "VideoRetrieval": (80.40, 80.09),
    },
    "Reranking": {
        "CMedQAv1-reranking": (91.39, 90.96),
        "CMedQAv2-reranking": (89.72, 90.41),
        "MMarcoReranking": (41.58, 39.91),
        "T2Reranking": (68.36, 69.03),
    },
    "Classification": {
        "AmazonReviewsClassification": (50.31, 50.07),
        "MassiveIntentClassification": (78.14, 77.45),
        "MassiveScenarioClassification": (86.20, 85.30),
        "IFlyTek": (51.94, 51.76),
        "JDReview": (90.32, 89.08),
        "MultilingualSentiment": (78.58, 79.45),
        "OnlineShopping": (95.07, 94.90),
        "TNews": (55.03, 54.64),
        "Waimai": (89.70, 89.34),
    },
    "STS": {
        "AFQMC": (60.66, 60.96),
        "ATEC": (58.64, 58.81),
        "BQ": (74.51, 75.08),
        "LCQMC": (79.45, 79.82),
        "PAWSX": (46.60, 47.42),
        "QBQTC": (44.58, 45.14),
        "STSB": (81.24, 82.05),
        "STS22": (67.73, 66.96),
    },
    "Clustering": {
        "CLSClusteringP2P": (60.64, 60.42),
        "CLSClusteringS2S": (52.65, 49.54),
        "ThuNewsClusteringP2P": (77.84, 78.76),
        "ThuNewsClusteringS2S": (74.20, 71.96),
    },
    "PairClassification": {
        "Cmnli": (92.54, 92.84),
        "Ocnli": (90.77, 90.90),
    },
}
"""The published 35 tasks of C-MTEB by type, scores of Conan-embedding-v1 (arXiv 2408.15710), mean 72.62, and of
xiaobu-embedding-v2, mean 72.43."""

CMTEB_TYPES = {kind: tuple(tasks) for kind, tasks in CMTEB.items()}
CONAN_V1, XIAOBU_V2 = (
    {task: scores[column] for tasks in CMTEB.values() for task, scores in tasks.items()} for column in (0, 1)
)

PAIRS_BY_ACCURACY = {"Conan-v1": {"Cmnli": 85.92, "Ocnli": 85.44}, "xiaobu-v2": {"Cmnli": 86.45, "Ocnli": 85.44}}
"""The best accuracy on the pair classification tasks, which is what mteb scores them by today."""

BEIR = {
    "ArguAna": (68.28, 70.07),
    "ClimateFEVER": (43.47, 45.39),
    "CQADupstackRetrieval": (49.36, 50.24),
    "DBPedia": (50.82, 53.50),
    "FEVER": (93.15, 93.75),
    "FiQA2018": (61.18, 65.73),
    "HotpotQA": (79.12, 85.48),
    "MSMARCO": (44.89, 45.63),
    "NFCorpus": (45.06, 45.17),
    "NQ": (72.44, 73.57),
    "QuoraRetrieval": (88.78, 89.04),
    "SCIDOCS": (22.55, 21.90),
    "SciFact": (81.31, 80.13),
    "Touche2020": (26.60, 31.78),
    "TRECCOVID": (86.44, 88.44),
}
"""The scores of NV-Retriever-v1 (arXiv 2407.15831), mean 60.90, trained on the train splits of several of these sets,
and of NV-Embed-v2 (arXiv 2405.17428), mean 62.65."""

NV_RETRIEVER_V1, NV_EMBED_V2 = ({task: scores[column] for task, scores in BEIR.items()} for column in (0, 1))
