from __future__ import annotations

from django.contrib import admin

from .models import Release


@admin.register(Release)
class ReleaseAdmin(admin.ModelAdmin):
    list_display = ["__str__", "state", "kind", "build", "version", "who", "started"]
    list_filter = ["environment", "state", "kind"]
    search_fields = ["build", "commit", "digest", "version", "who", "reason"]
    date_hierarchy = "started"
