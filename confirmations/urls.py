"""Routes of confirmations, under /api/v1/."""

from django.urls import path

from confirmations import views

app_name = "confirmations"
urlpatterns = [
    path("confirmations", views.ConfirmationsView.as_view(), name="confirmations"),
    path("confirmations/<uuid:id_>", views.ConfirmationView.as_view(), name="confirmation"),
    path("jobs/<uuid:id_>/proof", views.ProofView.as_view(), name="proof"),
    path("signers", views.SignersView.as_view(), name="signers"),
    path("signers/<uuid:id_>", views.SignerView.as_view(), name="signer"),
    path("signers/<uuid:id_>/pause", views.PauseSignerView.as_view(), name="pause_signer"),
    path("signers/<uuid:id_>/resume", views.ResumeSignerView.as_view(), name="resume_signer"),
]
