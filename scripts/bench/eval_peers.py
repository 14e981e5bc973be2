"""What retrieval.mjs and probe.mjs are compared with: the eager score matrix in torch, and scikit-learn's and torch's logistic regression.

eval_peers.py retrieval DIR --images N --captions M --width D --threads T [--memory]
eval_peers.py probe DIR --rows N --width D --classes C --l2 L --threads T

DIR holds the fp32 rows that the benchmark wrote (images.f32 and captions.f32, or features.f32 and labels.i32). Prints one JSON line.
"""

import argparse
import json
import resource
import time

import numpy as np
import torch
import torch.nn.functional as F
from threadpoolctl import threadpool_limits

parser = argparse.ArgumentParser()
parser.add_argument("what", choices=["retrieval", "probe"])
parser.add_argument("folder")
for name in ("images", "captions", "rows", "width", "classes", "threads"):
    parser.add_argument(f"--{name}", type=int)
parser.add_argument("--l2", type=float)
parser.add_argument("--repeat", type=int, default=3)
a = parser.parse_args()
torch.set_num_threads(a.threads)
peak_mb = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(f):
    start, cpu = time.perf_counter(), time.process_time()
    value = f()
    return value, time.perf_counter() - start, time.process_time() - cpu


def load(name, width):
    return torch.from_numpy(np.fromfile(f"{a.folder}/{name}.f32", np.float32).reshape(-1, width))


def retrieval():
    images, captions = load("images", a.width), load("captions", a.width)
    before = peak_mb()

    def both_ways():
        scores = F.normalize(captions, dim=-1) @ F.normalize(images, dim=-1).T
        return scores.topk(10, dim=1).indices, scores.T.topk(10, dim=1).indices

    runs = [timed(both_ways) for _ in range(a.repeat)]
    (of_captions, of_images), _, _ = runs[0]
    of_captions.to(torch.int32).numpy().tofile(f"{a.folder}/of_captions.i32")
    of_images.to(torch.int32).numpy().tofile(f"{a.folder}/of_images.i32")
    return dict(seconds=sorted(r[1] for r in runs), cpu=sorted(r[2] for r in runs), extra_mb=peak_mb() - before)


def probe():
    from sklearn.linear_model import LogisticRegression

    x = F.normalize(load("features", a.width), dim=-1)
    y = torch.from_numpy(np.fromfile(f"{a.folder}/labels.i32", np.int32)).long()
    wide = torch.cat([x.double(), torch.ones(len(y), 1, dtype=torch.float64)], 1)

    def objective(w):
        return F.cross_entropy(wide @ w, y) + 0.5 * a.l2 * (w[:-1] ** 2).sum()

    found = {}
    for dtype in (np.float32, np.float64):
        for tolerance in (1e-4, 1e-5, 1e-6):
            model = LogisticRegression(C=1 / (len(y) * a.l2), solver="lbfgs", tol=tolerance, max_iter=5000)
            features = x.numpy().astype(dtype)
            with threadpool_limits(a.threads):
                _, seconds, cpu = timed(lambda: model.fit(features, y.numpy()))
            w = torch.tensor(np.concatenate([model.coef_, model.intercept_[:, None]], 1).T).double()
            value = objective(w).item()
            found[f"sklearn {dtype.__name__} tol {tolerance}"] = dict(seconds=seconds, cpu=cpu, objective=value)

    w = torch.zeros(a.width + 1, a.classes, dtype=torch.float64, requires_grad=True)
    options = dict(max_iter=2000, tolerance_grad=1e-7, tolerance_change=1e-12, line_search_fn="strong_wolfe", history_size=50)
    solver = torch.optim.LBFGS([w], **options)

    def closure():
        solver.zero_grad()
        loss = objective(w)
        loss.backward()
        return loss

    _, seconds, cpu = timed(lambda: solver.step(closure))
    found["torch"] = dict(seconds=seconds, cpu=cpu, objective=objective(w).item())
    return found


print(json.dumps(dict(retrieval=retrieval, probe=probe)[a.what]()))
