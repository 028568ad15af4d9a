"""Published scores, in points, that our reports are read against; none of them was measured here."""

CONAN_V1 = {
    "CmedqaRetrieval": 47.61,
    "CovidRetrieval": 92.35,
    "DuRetrieval": 88.53,
    "EcomRetrieval": 70.99,
    "MMarcoRetrieval": 82.25,
    "MedicalRetrieval": 67.94,
    "T2Retrieval": 83.31,
    "VideoRetrieval": 80.40,
    "CMedQAv1-reranking": 91.39,
    "CMedQAv2-reranking": 89.72,
    "MMarcoReranking": 41.58,
    "T2Reranking": 68.36,
    "AmazonReviewsClassification": 50.31,
    "MassiveIntentClassification": 78.14,
    "MassiveScenarioClassification": 86.20,
    "IFlyTek": 51.94,
    "JDReview": 90.32,
    "MultilingualSentiment": 78.58,
    "OnlineShopping": 95.07,
    "TNews": 55.03,
    "Waimai": 89.70,
    "AFQMC": 60.66,
    "ATEC": 58.64,
    "BQ": 74.51,
    "LCQMC": 79.45,
    "PAWSX": 46.60,
    "QBQTC": 44.58,
    "STSB": 81.24,
    "STS22": 67.73,
    "CLSClusteringP2P": 60.64,
    "CLSClusteringS2S": 52.65,
    "ThuNewsClusteringP2P": 77.84,
    "ThuNewsClusteringS2S": 74.20,
    "Cmnli": 92.54,
    "Ocnli": 90.77,
}
"""Conan-embedding-v1 (arXiv 2408.15710) on C-MTEB, the published 35 tasks."""

NV_RETRIEVER_V1 = {
    "ArguAna": 68.28,
    "ClimateFEVER": 43.47,
    "CQADupstackRetrieval": 49.36,
    "DBPedia": 50.82,
    "FEVER": 93.15,
    "FiQA2018": 61.18,
    "HotpotQA": 79.12,
    "MSMARCO": 44.89,
    "NFCorpus": 45.06,
    "NQ": 72.44,
    "QuoraRetrieval": 88.78,
    "SCIDOCS": 22.55,
    "SciFact": 81.31,
    "Touche2020": 26.60,
    "TRECCOVID": 86.44,
}
"""NV-Retriever-v1 (arXiv 2407.15831) on BEIR; trained on the train splits of several of its sets."""

CMTEB_TASKS = {"Conan-v1": CONAN_V1}
CMTEB_MEANS = {"Conan-v1": 72.62, "xiaobu-v2": 72.43}
BEIR_TASKS = {"NV-Retriever-v1": NV_RETRIEVER_V1}
BEIR_MEANS = {"NV-Retriever-v1": 60.90, "NV-Embed-v2": 62.65}
