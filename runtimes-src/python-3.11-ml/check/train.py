"""Run in the packed runtime: a model is trained and kept, plots are drawn, TLS's certificates are there."""

import importlib.metadata
import io
import ssl

import joblib
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scipy.linalg
import scipy.optimize
import seaborn as sns
from PIL import Image
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

iris = load_iris(as_frame=True)
train_x, test_x, train_y, test_y = train_test_split(iris.data, iris.target, random_state=0)
model = RandomForestClassifier(n_estimators=20, n_jobs=2, random_state=0).fit(train_x, train_y)
assert model.score(test_x, test_y) > 0.9
kept = io.BytesIO()
joblib.dump(model, kept)
kept.seek(0)
assert (joblib.load(kept).predict(test_x) == model.predict(test_x)).all()

matrix = np.random.default_rng(0).normal(size=(50, 50))
lower, upper = scipy.linalg.lu(matrix, permute_l=True)
assert np.allclose(lower @ upper, matrix)
assert abs(scipy.optimize.brentq(np.cos, 0, 3) - np.pi / 2) < 1e-9

table = pd.concat([iris.data, iris.target], axis=1)
assert table.groupby("target")["sepal length (cm)"].mean().round(2).tolist() == [5.01, 5.94, 6.59]
sns.scatterplot(table, x="sepal length (cm)", y="sepal width (cm)", hue="target")
plt.savefig("/tmp/plot.png")
with Image.open("/tmp/plot.png") as image:
    assert image.format == "PNG" and image.size == (640, 480)
    assert len(image.convert("RGB").getcolors(1 << 20)) > 10

assert len(ssl.create_default_context().get_ca_certs()) > 100
# Debian's own pip keeps the list of files that its wheel had.
for distribution in importlib.metadata.distributions(path=["/usr/local/lib/python3.11/dist-packages"]):
    missing = [it for it in distribution.files or [] if not it.locate().exists()]
    assert not missing, (distribution.name, missing)
print("trained, drawn, verified")
