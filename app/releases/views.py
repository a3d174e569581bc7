from __future__ import annotations

from typing import Any

from board import deployment
from board.build import RUNNING
from django.conf import settings
from django.db.models import QuerySet
from django.views.generic import ListView

from .models import Release


class ReleaseList(ListView):
    """The releases, newest first; `?environment=NAME` shows one environment's."""

    paginate_by = 50
    template_name = "releases/list.html"
    context_object_name = "releases"

    def get_queryset(self) -> QuerySet[Release]:
        releases = Release.objects.all()
        environment = self.request.GET.get("environment", "")
        return releases.filter(environment=environment) if environment else releases

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            environments=Release.objects.order_by("environment").values_list("environment", flat=True).distinct(),
            chosen=self.request.GET.get("environment", ""),
            running=RUNNING,
            here=settings.ENVIRONMENT,
            url=deployment.url(),
            **kwargs,
        )
