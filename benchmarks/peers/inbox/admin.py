"""The list: one instructor's conversations, newest first, fifty a page, a method called for each row."""

from typing import Any

from django.conf import settings
from django.contrib import admin

from benchmarks.peers.inbox.models import Conversation, Customer
from console.identifiers import normalize_identifier


@admin.register(Conversation)
class ConversationAdmin(admin.ModelAdmin):
    """The inbox."""

    list_display = ("customer_identifier", "channel", "status", "last_message_at", "last_message", "state")
    ordering = ("-last_message_at",)
    list_per_page = 50

    def get_queryset(self, request: Any) -> Any:
        """Keep to one instructor."""
        return super().get_queryset(request).filter(instructor_id=settings.INSTRUCTOR_ID)

    @admin.display
    def last_message(self, conversation: Conversation) -> str:
        """Say what was written last."""
        last = conversation.message_set.order_by("-sent_at", "-id").first()
        return (last.body or "")[:160] if last else "No messages"

    @admin.display
    def state(self, conversation: Conversation) -> str:
        """Say what the badge says."""
        if conversation.customer_id:
            return "known"
        key = {
            "instructor_id": conversation.instructor_id,
            "channel": conversation.channel,
            "normalized_identifier": normalize_identifier(conversation.customer_identifier or ""),
        }
        return "new" if Customer.objects.filter(**key).exists() else "unlinked"
