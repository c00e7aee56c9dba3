"""What users of this runtime do first: clusters, tables in files, limits on threads."""

import io

import numpy
import pandas
import threadpoolctl
from sklearn.cluster import KMeans

points = numpy.array([[0.0], [0.1], [9.0], [9.1]])
labels = KMeans(n_clusters=2, n_init=1, random_state=0).fit(points).labels_
assert labels[0] == labels[1] != labels[2] == labels[3], labels

numpy.linalg.inv(numpy.eye(3))
pools = threadpoolctl.threadpool_info()
assert any(pool["user_api"] == "blas" for pool in pools), pools
with threadpoolctl.threadpool_limits(limits=1):
    assert all(pool["num_threads"] == 1 for pool in threadpoolctl.threadpool_info())

frame = pandas.DataFrame({"a": [1, 2]})
for write, read in [("to_parquet", pandas.read_parquet), ("to_excel", pandas.read_excel)]:
    buffer = io.BytesIO()
    getattr(frame, write)(buffer, index=False)
    assert read(io.BytesIO(buffer.getvalue())).equals(frame), write
assert frame.to_markdown() and frame.style.to_html()
assert pandas.read_html(io.StringIO(frame.to_html()))[0].shape[0] == 2
