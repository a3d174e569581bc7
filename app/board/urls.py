"""The board's addresses; /livez and /healthz are answered before any of them, by what the image brings along."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path
from releases.views import ReleaseList

urlpatterns = [
    path("", ReleaseList.as_view(), name="releases"),
    path("admin/", admin.site.urls),
]
