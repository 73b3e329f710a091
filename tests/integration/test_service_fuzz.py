"""Whatever is sent to the service, it keeps its schema and never fails by itself."""

from pathlib import Path

import pytest
import schemathesis

from reverie.serve.service.app import ServiceConfig, make_service
from reverie.serve.service.served import load_served_model
from tests.support import service
from tests.support.fuzz import fuzz, know_frames


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_requests_made_up_from_the_schema_never_break_it(tmp_path: Path) -> None:
    model = load_served_model(service.save_classic(tmp_path / "dream"))
    app = make_service(model, ServiceConfig(allowed_hosts=("testserver",)))
    know_frames(service.SIDE_PX)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    seen = fuzz(schema, examples=6, root_seed=1)
    assert {path for path, _ in seen} >= {"/encode", "/imagine", "/verify", "/act", "/sessions"}
    assert sum(count for (_, status), count in seen.items() if status >= 500) == 0
    assert any(status == 200 for (path, status) in seen if path == "/health")
    print(dict(seen))
