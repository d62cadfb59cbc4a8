"""Routes of messages, under /api/v1/."""

from django.urls import path

from ingestion import views

app_name = "ingestion"
urlpatterns = [
    path("messages", views.MessagesView.as_view(), name="messages"),
    path("messages/<uuid:id_>", views.MessageView.as_view(), name="message"),
    path("messages/<uuid:id_>/original", views.OriginalView.as_view(), name="original"),
]
