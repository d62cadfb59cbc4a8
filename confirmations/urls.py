"""Routes of confirmations, under /api/v1/."""

from django.urls import path

from confirmations import views

app_name = "confirmations"
urlpatterns = [
    path("confirmations", views.ConfirmationsView.as_view(), name="confirmations"),
    path("confirmations/<uuid:job_id>", views.ConfirmationView.as_view(), name="confirmation"),
    path("jobs/<uuid:job_id>/proof", views.ProofView.as_view(), name="proof"),
    path("signers", views.SignersView.as_view(), name="signers"),
    path("signers/<uuid:signer_id>", views.SignerView.as_view(), name="signer"),
    path("signers/<uuid:signer_id>/pause", views.PauseSignerView.as_view(), name="pause_signer"),
    path("signers/<uuid:signer_id>/resume", views.ResumeSignerView.as_view(), name="resume_signer"),
]
