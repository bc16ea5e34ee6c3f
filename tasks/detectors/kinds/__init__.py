"""The kinds of detectors: how each is fitted to a matrix of features, and how it scores one; higher = more abnormal.

algorithm.py         what every kind is: a fit, a score, and what it wants of its features
table.py             the kinds by the names of the settings
mixtures.py          gmm, bayesian_gmm
one_class_svm.py     ocsvm
isolation_forest.py  isolation_forest
kernel_density.py    kde
neighbours.py        knn
mahalanobis.py       mahalanobis
autoencoders.py      lenet_dcae, small_dcae, dense_ae; their layers in networks.py
"""
